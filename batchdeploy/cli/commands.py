"""The commands. Each asks `flow` for records and gives them to `screens`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from batchdeploy import evidence, flow, runtime, steps, survey
from batchdeploy.check import check as check_all
from batchdeploy.cli import screens
from batchdeploy.cli.progress import progress, say_stage
from batchdeploy.core.request import StepRequest
from batchdeploy.documents import from_json, to_plain
from batchdeploy.errors import BatchdeployError, GateRefused, OutsideError, Problem, RequestError, RunStopped
from batchdeploy.model_policy import model_policy
from batchdeploy.packages import install_hint, needed
from batchdeploy.process_session import stop_with_parent
from batchdeploy.ranges import plan_range
from batchdeploy.roots import find_root

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


def _show_version(asked: bool) -> None:
    if asked:
        # NOTE: by name, because what imports the front page would import the notebook's door.
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
Evolve = Annotated[
    bool, typer.Option("--evolve", help="let the table get another model's scores, or other columns")
]
RunsOf = Annotated[
    Path | None,
    typer.Option("--deployment", "-d", metavar="FILE", help="whose run it is; else any of this project's"),
]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="a run id, its beginning, or a run's folder")]


@contextmanager
def opened(file: Path) -> Iterator[runtime.LocalToolbox]:
    """The deployment's toolbox, closed at the end."""
    tools = runtime.open_toolbox(file)
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

    The data are 442 patients that scikit-learn brings along; the model is trained and registered in the
    folder's own MLflow database. The first `run` works as it is printed.
    """
    from batchdeploy.cli.starter import write_project

    files = write_project(folder)
    screens.show_project(folder, files, json_=json_)


@app.command()
def check(deployment: DeploymentFile, json_: Json = False) -> None:
    """Find everything that can be wrong before any row is read, in one message.

    Reads the deployment, the registry, the suite, the reference, the names of all partitions and the
    footers of the newest; asks what the engine needs of this machine, and whether scores can be written.
    Says, too, what in the model runs code of whoever registered it, and how to refuse that.
    """
    with opened(deployment) as tools:
        problems = check_all(tools)
        if problems:
            raise RequestError(str(deployment), problems, hint=install_hint(needed(tools.deployment)))
        screens.show_checked(tools.deployment, survey.code_allowed(tools), json_=json_)


@app.command()
def plan(
    deployment: DeploymentFile,
    partition: Partition = None,
    first: First = None,
    last: Last = None,
    evolve: Evolve = False,
    json_: Json = False,
) -> None:
    """Show what would happen: pins, rows, minutes, which partitions are new, changed or identical."""
    with opened(deployment) as tools:
        bounds = _bounds(partition, first, last)
        if partition is None:
            plans = plan_range(tools, *bounds, evolve=evolve)
        else:
            plans = [flow.plan(tools, partition, evolve=evolve)]
        screens.show_plans(plans, seconds=survey.usual_seconds(tools), json_=json_)


@app.command()
def run(
    deployment: DeploymentFile,
    partition: Annotated[str, typer.Option("--partition", "-p", help="one value of the partition column")],
    force: Annotated[bool, typer.Option("--force", help="repeat what is published already")] = False,
    evolve: Evolve = False,
    json_: Json = False,
) -> None:
    """Score one partition: resolve, validate, score, compare, publish, report.

    Where the same pins are published already, it says so and does nothing.
    """
    with opened(deployment) as tools, progress(1) as bar:
        bar.begin(partition)
        outcome = flow.run(tools, partition, repeat=force, evolve=evolve, progress=bar.stage)
        bar.end()
        screens.show_outcome(outcome, json_=json_)


@app.command()
def backfill(
    deployment: DeploymentFile,
    first: Annotated[str, typer.Option("--from", help="first partition, included")],
    last: Annotated[str, typer.Option("--to", help="last partition, included")],
    model: Annotated[
        str | None, typer.Option("--model", metavar="ALIAS|VERSION", help="another model than deployed")
    ] = None,
    evolve: Evolve = False,
    json_: Json = False,
) -> None:
    """Score many partitions in one engine session; what is identical is skipped, so it can be resumed.

    A partition that a gate refuses does not stop the others; the exit code is 1 then. Anything else that
    fails ends the backfill there; what was published stays, and the same command goes on from it.
    """
    with opened(deployment) as tools:
        ref = None if model is None else model_policy(tools, model)
        tools.sink.recover(now=flow.now().timestamp())
        say_stage(f"{first} to {last}", "resolve")
        plans = plan_range(tools, first, last, ref, evolve=evolve)
        outcomes: list[flow.Outcome] = []
        failed: list[tuple[str, BatchdeployError]] = []
        with progress(len(plans)) as bar:
            for planned in plans:
                bar.begin(planned.partition)
                try:
                    outcomes.append(flow.execute(tools, planned, progress=bar.stage))
                except BatchdeployError as error:
                    failed.append((planned.partition, error))
                    if not isinstance(error, GateRefused):
                        break
                bar.end()
        screens.show_backfill(outcomes, failed, json_=json_)
    if failed:
        raise typer.Exit(max(error.exit_code for _, error in failed))


@app.command(hidden=True)
def step(
    deployment: DeploymentFile,
    request: Annotated[str, typer.Option("--request", help="a step's request, as JSON")],
) -> None:
    """Do one step of a run, for an orchestrator; prints the answer as JSON."""
    stop_with_parent()
    # NOTE: the orchestrator keeps what is written to stderr as the log of its task.
    logging.basicConfig(format="%(message)s")
    logging.getLogger("batchdeploy").setLevel(logging.INFO)
    asked = from_json(StepRequest, request, where="--request")
    with opened(deployment) as tools:
        screens.print_json(steps.take_step(tools, asked))


@app.command()
def status(deployment: DeploymentFile, json_: Json = False) -> None:
    """Show each partition: state, run, model version, rows, drift verdict, when."""
    with opened(deployment) as tools:
        screens.show_status(tools.deployment, survey.statuses(tools), json_=json_)


@app.command()
def show(run: RunId, deployment: RunsOf = None, json_: Json = False) -> None:
    """Show the records of one run: what was pinned, checked, scored, measured and published."""
    folder = find_run(run, deployment)
    records = {kind.__name__: record for kind in evidence.FILES if (record := evidence.find(folder, kind))}
    if json_:
        screens.print_json({"folder": str(folder)} | {k: to_plain(r) for k, r in records.items()})
    else:
        screens.show_run(folder, records)


@app.command()
def report(run: RunId, deployment: RunsOf = None, json_: Json = False) -> None:
    """Print where a run's HTML report is; it opens from disk, without a network.

    A page that is missing, or was cut short by a full disk, is drawn again.
    """
    folder = find_run(run, deployment)
    file = folder / evidence.PAGE
    if not evidence.is_whole(file):
        flow.mend_page(runtime.open_run(folder), folder)
    if not file.is_file():
        raise RequestError(str(file.parent), (Problem("report.html", "the run did not get that far"),))
    screens.show_path(file, json_=json_)


@app.command()
def doctor(
    deployment: Annotated[
        Path | None, typer.Argument(metavar="[DEPLOYMENT]", help="the deployment whose needs count")
    ] = None,
    json_: Json = False,
) -> None:
    """Look for Java, Spark, the registry, DVC, GX and Airflow: what is there, what to type.

    What counts is what the deployment uses; without DEPLOYMENT, what those of the project in this folder use.
    """
    from batchdeploy.cli.doctor import examine

    findings = examine(Path.cwd(), deployment)
    screens.show_findings(findings, json_=json_)
    if not all(finding.ok for finding in findings if finding.needed):
        raise typer.Exit(OutsideError.exit_code)


def find_run(text: str, deployment: Path | None = None) -> Path:
    """The folder of the run that a person named.

    Args:
        text: the run's folder, its id, or the beginning of it.
        deployment: whose runs are meant; without one, all below the project that the person is in.

    Raises:
        RequestError: no such run there, or several.
    """
    folder = Path(text)
    if (folder / "plan.json").is_file():
        return folder
    if deployment is not None:
        root = runtime.open_toolbox(deployment).layout.control
        hint = f"batchdeploy status {quote(str(deployment))} lists them"
    else:
        root = find_root(Path.cwd() / "here")
        hint = f"batchdeploy show {quote(text)} --deployment FILE looks where that deployment keeps its runs"
    found = survey.find_runs(root, text)
    if len(found) != 1:
        names = ", ".join(f"{f.parent.name}/{f.name}" for f in found[:3])
        problem = Problem(text, "no such run" if not found else "several runs begin so", names or None)
        hint = hint if not found else "give more of its id, or the run's folder"
        raise RequestError(f"the runs below {root}", (problem,), hint=hint)
    return found[0]


def _bounds(partition: str | None, first: str | None, last: str | None) -> tuple[str, str]:
    if partition is not None and first is None and last is None:
        return partition, partition
    if partition is not None or first is None or last is None:
        raise RequestError("the request", "give --partition, or --from and --to")
    return first, last
