"""The commands for one run: show, report."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from batchdeploy import assembly
from batchdeploy.cli import screens
from batchdeploy.cli.commands import Json, app
from batchdeploy.core.locations import Location, as_location
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.host.project_root import find_root
from batchdeploy.workflows.find_run import find_run
from batchdeploy.workflows.show_run import show_run

RunsOf = Annotated[
    Path | None,
    typer.Option(
        "--deployment", "-d", metavar="FILE", help="the run's deployment; else any of this project's"
    ),
]
RunId = Annotated[
    str, typer.Argument(metavar="RUN", help="a run id or its beginning, or a run's folder or URI")
]


@app.command()
def show(
    run: RunId,
    deployment: RunsOf = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="read all files, also large ones and those in an object store")
    ] = False,
    json_: Json = False,
) -> None:
    """Show the records of one run: pins, checks, scores, drift, and whether records and files are whole.

    Names each record or file that is missing, unreadable or changed. Without
    --verify, files of more than 256 MiB in all are compared by size, and none of a table in an object store.
    """
    folder, stores = _find(run, deployment)
    records, open_tools = assembly.records_in(folder, stores), partial(assembly.open_run, folder, stores)
    screens.show_run(show_run(folder, records, open_tools, verify=verify), json_=json_)


@app.command()
def report(run: RunId, deployment: RunsOf = None, json_: Json = False) -> None:
    """Print the path of a run's HTML report; it opens from disk, without a network.

    A page that is missing or incomplete is drawn again. A page in an object store is copied to this machine.
    """
    folder, stores = _find(run, deployment)
    screens.show_page(assembly.fetch_page(folder, stores), folder, json_=json_)


def _find(text: str, deployment: Path | None) -> tuple[Location, StorageSpec]:
    """The folder of a run, found by its folder, its id or the beginning of its id, and how it is reached.

    Args:
        text: the run's folder or its URI, its id, or the beginning of it.
        deployment: the run's deployment; without one, all local runs of the current project are searched, and
            a URI is reached as the environment says.

    Raises:
        RequestError: no run matches, or several do.
    """
    stores, root = StorageSpec(), as_location(str(find_root(Path.cwd() / "here")))
    hint = f"batchdeploy show {quote(text)} --deployment FILE looks where that deployment keeps its runs"
    if deployment is not None:
        tools = assembly.open_toolbox(deployment)
        stores, root = tools.deployment.storage, tools.layout.control_location
        hint = f"batchdeploy status {quote(str(deployment))} lists them"
    records_in = partial(assembly.records_in, stores=stores)
    return find_run(text, root, records_in=records_in, hint=hint), stores
