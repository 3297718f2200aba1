"""The commands for a published table: recover, gc, rollback, read-sql."""

from __future__ import annotations

from typing import Annotated

import typer

from batchdeploy.cli.commands import DeploymentFile, Json, app, open_deployment
from batchdeploy.cli.screens import out, print_json
from batchdeploy.core.maintenance import CleanupReport
from batchdeploy.core.reader_snippets import reader_snippets
from batchdeploy.documents import to_plain
from batchdeploy.workflows import maintenance as workflow
from batchdeploy.workflows.rollback import rollback as roll_back


@app.command()
def recover(deployment: DeploymentFile, json_: Json = False) -> None:
    """Complete the publishes of killed runs, and remove what they left in staging.

    Every run does this at its start; run it by hand only if no run follows.
    """
    with open_deployment(deployment) as tools:
        _show_cleaned(workflow.recover(tools), json_=json_)


@app.command()
def gc(deployment: DeploymentFile, json_: Json = False) -> None:
    """Recover, then remove generations beyond publish.keep_generations, and other leftovers.

    Records, drift tables and quarantined rows are kept.
    """
    with open_deployment(deployment) as tools:
        _show_cleaned(workflow.collect_garbage(tools), json_=json_)


@app.command()
def rollback(
    deployment: DeploymentFile,
    partition: Annotated[str, typer.Option("--partition", "-p", help="one value of the partition column")],
    to: Annotated[
        str | None, typer.Option("--to", metavar="RUN", help="an earlier run; the one before by default")
    ] = None,
    json_: Json = False,
) -> None:
    """Publish an earlier run's scores of a partition again, at once; nothing is scored.

    The rows, files and records are those of that run, untouched. A later `run` of the same partition
    publishes as usual.
    """
    with open_deployment(deployment) as tools:
        done = roll_back(tools, partition, to=to)
        if json_:
            print_json(to_plain(done))
        else:
            replaced = done.replaced or "nothing"
            out().print(f"{partition}: run {done.run_id} is visible again, in place of {replaced}")


@app.command("read-sql")
def read_sql(deployment: DeploymentFile, json_: Json = False) -> None:
    """Print snippets that read the published scores in DuckDB, pandas, Polars and Spark."""
    with open_deployment(deployment) as tools:
        lines = reader_snippets(tools.deployment, str(tools.layout.table))
        if json_:
            print_json(lines)
            return
        for engine, text in lines.items():
            out().print(f"# {engine}\n{text}\n", markup=False, soft_wrap=True)


def _show_cleaned(cleaned: CleanupReport, *, json_: bool) -> None:
    if json_:
        print_json(to_plain(cleaned))
        return
    for line in cleaned.summary() or ("nothing to do",):
        out().print(line, markup=False, soft_wrap=True)
