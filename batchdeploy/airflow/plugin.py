"""Airflow's plugin: the report of a DAG run as a tab of it, for those who may see the DAG's runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from batchdeploy.airflow.links import REPORT_ROUTE, RUN_KEY, ModelLink, ReportLink
from batchdeploy.airflow.step import PROBLEM_KEY

PREFIX = "/batchdeploy"
STEPS = ("plan", "validate", "score", "compare", "publish")
# NOTE: what a task handed on is a path that any task's author could write; only a run's own report is read.
RUN_FOLDER = re.compile(r".+\.batchdeploy/runs/[^/=]+=[^/]+/[0-9a-f]{16}")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def create_app() -> Any:
    """The pages as an application that Airflow's API server mounts."""
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.common.db.common import SessionDep
    from airflow.api_fastapi.core_api.security import requires_access_dag
    from fastapi import Depends, FastAPI
    from fastapi.responses import HTMLResponse

    app = FastAPI(title="batchdeploy", docs_url=None, redoc_url=None, openapi_url=None)

    # NOTE: Airflow does not guard what plugins mount; without this dependency anybody could read reports.
    guard = [Depends(requires_access_dag("GET", DagAccessEntity.RUN))]

    def report(dag_id: str, run_id: str, session: Any, number: int | None = None) -> HTMLResponse:
        """The report of a DAG run; a list where it has several, and where it has none, how far it got."""
        folders, problems = find_runs(session, dag_id, run_id)
        pages = {folder: page for folder in folders if (page := read_report(folder)) is not None}
        if len(pages) == 1 or (number is not None and 0 <= number < len(pages)):
            return HTMLResponse(list(pages.values())[number or 0], headers=HEADERS)
        html = _template().render(
            dag_id=dag_id, run_id=run_id, folders=folders, problems=problems, reports=list(pages)
        )
        return HTMLResponse(html, headers=HEADERS)

    report.__annotations__["session"] = SessionDep
    app.get("/report", dependencies=guard)(report)
    return app


def find_runs(session: Any, dag_id: str, run_id: str) -> tuple[list[str], list[str]]:
    """The run folders of a DAG run, one for each group of tasks, and what tasks said of their failures.

    Of a group it is the newest: a task that was cleared after rows were mended hands on another folder.
    """
    from airflow.models.xcom import XComModel

    def values(key: str) -> list[tuple[str, str]]:
        query = XComModel.get_many(run_id=run_id, dag_ids=dag_id, key=key)
        rows = sorted(session.scalars(query), key=lambda row: row.timestamp)
        return [(row.task_id, str(XComModel.deserialize_value(row))) for row in rows]

    groups = {group_of(task): folder for task, folder in values(RUN_KEY)}
    return list(dict.fromkeys(groups.values())), [f"{task}: {text}" for task, text in values(PROBLEM_KEY)]


def group_of(task: str) -> str:
    """What a task's run is told apart by: its group for one of the five steps, else the task itself."""
    group, _, name = task.rpartition(".")
    return group if name in STEPS else task


def read_report(folder: str) -> str | None:
    """The report in a run's folder; None where the folder is no run's, or holds none on this machine."""
    resolved = Path(folder).resolve()
    file = resolved / "report.html"
    if not RUN_FOLDER.fullmatch(str(resolved)) or file.is_symlink() or not file.is_file():
        return None
    return file.read_text(encoding="utf-8")


@cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("batchdeploy.airflow", "pages")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(
        "no_report.html.j2"
    )


class LazyApp:
    """An ASGI application that is made at its first request.

    Every Airflow process loads the plugins, tasks too; only the API server should pay for FastAPI.
    """

    def __init__(self, create: Callable[[], Any]) -> None:
        self._create = create
        self._made: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Passes the request on."""
        if self._made is None:
            self._made = self._create()
        await self._made(scope, receive, send)


class BatchdeployPlugin(AirflowPlugin):
    """The tab, its page, and the links from the tasks."""

    name = "batchdeploy"
    fastapi_apps: ClassVar[list[Any]] = [
        {"app": LazyApp(create_app), "url_prefix": PREFIX, "name": "batchdeploy"}
    ]
    external_views: ClassVar[list[Any]] = [
        {
            "name": "Report",
            "href": "batchdeploy/report?dag_id={DAG_ID}&run_id={RUN_ID}",
            "destination": "dag_run",
            "url_route": REPORT_ROUTE,
        }
    ]
    operator_extra_links: ClassVar[list[Any]] = [ReportLink(), ModelLink()]
