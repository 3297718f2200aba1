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
from batchdeploy.core.layout import PAGE
from batchdeploy.core.records import Plan
from batchdeploy.errors import Problem, RequestError
from batchdeploy.host.project_root import find_root
from batchdeploy.workflows.find_run import find_run
from batchdeploy.workflows.report import try_draw_report
from batchdeploy.workflows.show_run import show_run
from batchdeploy.workflows.timing import StageClock

RunsOf = Annotated[
    Path | None,
    typer.Option(
        "--deployment", "-d", metavar="FILE", help="the run's deployment; else any of this project's"
    ),
]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="a run id or its beginning, or a run's folder")]


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
    folder = _find(run, deployment)
    open_tools = partial(assembly.open_run, folder)
    screens.show_run(show_run(folder, assembly.records_in(folder), open_tools, verify=verify), json_=json_)


@app.command()
def report(run: RunId, deployment: RunsOf = None, json_: Json = False) -> None:
    """Print the path of a run's HTML report; it opens from disk, without a network.

    A page that is missing or incomplete is drawn again.
    """
    folder = _find(run, deployment)
    file, records = folder / PAGE, assembly.records_in(folder)
    if not records.has_page(""):
        try_draw_report(assembly.open_run(folder), records.read("", Plan), StageClock())
    if not file.is_file():
        raise RequestError(str(file.parent), (Problem(PAGE, "the run did not get that far"),))
    screens.show_path(file, json_=json_)


def _find(text: str, deployment: Path | None) -> Path:
    """The folder of a run, found by its folder, its id or the beginning of its id.

    Args:
        text: the run's folder, its id, or the beginning of it.
        deployment: the run's deployment; without one, all runs of the current project are searched.

    Raises:
        RequestError: no run matches, or several do.
    """
    if deployment is not None:
        root = assembly.open_toolbox(deployment).layout.control
        hint = f"batchdeploy status {quote(str(deployment))} lists them"
    else:
        root = find_root(Path.cwd() / "here")
        hint = f"batchdeploy show {quote(text)} --deployment FILE looks where that deployment keeps its runs"
    return find_run(text, root, records_in=assembly.records_in, hint=hint)
