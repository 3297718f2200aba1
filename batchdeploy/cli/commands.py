"""The commands. Each calls a workflow and passes its records to `screens`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from batchdeploy import assembly
from batchdeploy.cli import screens
from batchdeploy.cli.progress import print_stage, progress, track_backfill
from batchdeploy.core.deployment import OnMissing
from batchdeploy.core.pins import check_partition
from batchdeploy.core.request import StepRequest
from batchdeploy.documents import from_json
from batchdeploy.errors import (
    OutsideError,
    Problem,
    RequestError,
    RunStopped,
)
from batchdeploy.host.packages import install_hint, required_extras
from batchdeploy.host.process_session import stop_with_parent
from batchdeploy.workflows.backfill import backfill as backfill_range
from batchdeploy.workflows.check import check as check_all
from batchdeploy.workflows.model_policy import model_policy
from batchdeploy.workflows.plan import keep_model
from batchdeploy.workflows.plan import plan as plan_partition
from batchdeploy.workflows.plan_range import PlannedRange, plan_range
from batchdeploy.workflows.run import PartitionSkipped
from batchdeploy.workflows.run import run as run_partition
from batchdeploy.workflows.status import code_allowed, statuses, usual_seconds
from batchdeploy.workflows.step import take_step

app = typer.Typer(
    name="batchdeploy",
    help="One YAML file into a batch scoring job: pinned, validated, scored, published, explained.\n\n"
    "Exit codes: 0 done, 1 a gate refused (the evidence is written), 2 the request was wrong "
    "(nothing is written), 3 something outside failed (a retry may help).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(requested: bool) -> None:
    if requested:
        # NOTE: imported by name, because the import contracts forbid the package's front page here.
        screens.out().print(f"batchdeploy {import_module('batchdeploy').__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="print the version")
    ] = False,
) -> None:
    pass


DeploymentFile = Annotated[Path, typer.Argument(metavar="DEPLOYMENT", help="the deployment's YAML file")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document, and nothing else on stdout")]
Partition = Annotated[str | None, typer.Option("--partition", "-p", help="one value of the partition column")]
First = Annotated[str | None, typer.Option("--from", help="first partition, included")]
Last = Annotated[str | None, typer.Option("--to", help="last partition, included")]
Evolve = Annotated[bool, typer.Option("--evolve", help="allow another model or other columns in the table")]


Missing = Annotated[
    OnMissing | None,
    typer.Option("--on-missing", help="for partitions without rows; overrides data.on_missing"),
]


@contextmanager
def open_deployment(file: Path) -> Iterator[assembly.LocalToolbox]:
    """Yields the deployment's toolbox and closes it at the end."""
    tools = assembly.open_toolbox(file)
    try:
        yield tools
    except KeyboardInterrupt as stop:
        why = f"was stopped by {str(stop) or 'Ctrl-C'}"
        raise RunStopped(
            "the command", (Problem(str(file), why),), hint=f"batchdeploy status {quote(str(file))}"
        ) from stop
    finally:
        tools.close()


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="an empty folder, or one to make")],
    json_: Json = False,
) -> None:
    """Write a working project: data, a registered model, a deployment, a DAG, a suite, dvc.yaml.

    The data are 442 patients from a dataset of scikit-learn; the model is trained and registered in the
    folder's own MLflow database. The printed `run` command works as it is.
    """
    from batchdeploy.cli.starter import write_project

    files = write_project(folder)
    screens.show_project(folder, files, json_=json_)


@app.command()
def check(deployment: DeploymentFile, json_: Json = False) -> None:
    """Report every problem that can be found before any row is read, in one message.

    Reads the deployment, the registry, the suite, the reference, the names of all partitions and the
    footers of the newest; checks that this machine has what the engine needs, and that scores can be written.
    Also lists what in the model runs its author's code, and how to refuse that.
    """
    with open_deployment(deployment) as tools:
        found = check_all(tools)
        if found.problems:
            kind = OutsideError if found.outside else RequestError
            raise kind(str(deployment), found.problems, hint=install_hint(required_extras(tools.deployment)))
        screens.show_checked(tools.deployment, code_allowed(tools), json_=json_)


@app.command()
def plan(
    deployment: DeploymentFile,
    partition: Partition = None,
    first: First = None,
    last: Last = None,
    evolve: Evolve = False,
    on_missing: Missing = None,
    json_: Json = False,
) -> None:
    """Show what would happen: pins, rows, minutes, which partitions are new, changed or identical."""
    with open_deployment(deployment) as tools:
        bounds = _bounds(partition, first, last)
        if partition is None:
            policy = on_missing or tools.deployment.data.on_missing
            # A plan does not wait; it lists the partitions that a backfill would wait for.
            found = plan_range(
                tools, bounds, evolve=evolve, on_missing="skip" if policy == "wait" else policy
            )
        else:
            found = PlannedRange((plan_partition(tools, partition, evolve=evolve),), ())
        for planned in found.plans[:1]:
            keep_model(tools, planned.model)
        screens.show_plans(found.plans, found.missing, seconds=usual_seconds(tools), json_=json_)


@app.command()
def run(
    deployment: DeploymentFile,
    partition: Annotated[str, typer.Option("--partition", "-p", help="one value of the partition column")],
    force: Annotated[
        bool, typer.Option("--force", help="score again even if the same pins are published")
    ] = False,
    evolve: Evolve = False,
    on_missing: Missing = None,
    json_: Json = False,
) -> None:
    """Score one partition: resolve, validate, score, drift, publish, report.

    Where the same pins are published already, it says so and does nothing.
    """
    with open_deployment(deployment) as tools, progress(1) as bar:
        spec = tools.deployment.data.partition
        # The display would show an invalid partition before the workflow could refuse it.
        check_partition(spec.column, partition, spec.format)
        bar.begin(partition)
        try:
            outcome = run_partition(
                tools, partition, repeat=force, evolve=evolve, on_missing=on_missing, progress=bar.stage
            )
        except PartitionSkipped as skipped:
            screens.show_skipped(partition, skipped, json_=json_)
            return
        bar.end()
        screens.show_outcome(outcome, json_=json_)


@app.command()
def backfill(
    deployment: DeploymentFile,
    first: Annotated[str, typer.Option("--from", help="first partition, included")],
    last: Annotated[str, typer.Option("--to", help="last partition, included")],
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="REF", help="an alias or a version; overrides the deployed model"),
    ] = None,
    evolve: Evolve = False,
    on_missing: Missing = None,
    json_: Json = False,
) -> None:
    """Score many partitions in one engine session; identical ones are skipped, so that it can be resumed.

    A partition that a gate refuses does not stop the others; the exit code is 1 then. Anything else that
    fails ends the backfill there; published partitions stay, and the same command resumes there. Each
    partition that the calendar expects and that has no rows is named; by default it refuses the backfill.
    """
    with open_deployment(deployment) as tools:
        ref = None if model is None else model_policy(tools, model)
        print_stage(f"{first} to {last}", "resolve")
        with track_backfill() as watcher:
            result = backfill_range(
                tools, (first, last), model=ref, evolve=evolve, on_missing=on_missing, watcher=watcher
            )
        screens.show_backfill(result, json_=json_)
    if result.error is not None:
        raise typer.Exit(result.error.exit_code)


@app.command(hidden=True)
def step(
    deployment: DeploymentFile,
    request: Annotated[str, typer.Option("--request", help="a step's request, as JSON")],
) -> None:
    """Run one step for an orchestrator; prints the answer as JSON."""
    stop_with_parent()
    # The orchestrator stores stderr as the task's log.
    logging.basicConfig(format="%(message)s")
    logging.getLogger("batchdeploy").setLevel(logging.INFO)
    wanted = from_json(StepRequest, request, where="--request")
    with open_deployment(deployment) as tools:
        screens.print_json(take_step(tools, wanted))


@app.command()
def status(deployment: DeploymentFile, json_: Json = False) -> None:
    """Show each partition: state, run, model version, rows, drift verdict, when."""
    with open_deployment(deployment) as tools:
        screens.show_status(tools.deployment, statuses(tools), json_=json_)


@app.command()
def doctor(
    deployment: Annotated[
        Path | None, typer.Argument(metavar="[DEPLOYMENT]", help="the deployment to check for")
    ] = None,
    json_: Json = False,
) -> None:
    """Check for Java, Spark, the registry, DVC, GX and Airflow, and print how to install what is missing.

    Only what the deployment uses is required; without DEPLOYMENT, what those of this folder's project use.
    """
    from batchdeploy.cli.doctor import run_checks

    findings = run_checks(Path.cwd(), deployment)
    screens.show_findings(findings, json_=json_)
    if not all(finding.ok for finding in findings if finding.needed):
        raise typer.Exit(OutsideError.exit_code)


def _bounds(partition: str | None, first: str | None, last: str | None) -> tuple[str, str]:
    if partition is not None and first is None and last is None:
        return partition, partition
    if partition is not None or first is None or last is None:
        raise RequestError("the request", "give --partition, or --from and --to")
    return first, last
