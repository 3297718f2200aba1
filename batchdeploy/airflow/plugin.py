"""The Airflow plugin: a Report tab on DAG runs, for users who may read the DAG's runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from batchdeploy.airflow.links import REPORT_ROUTE, ModelLink, ReportLink
from batchdeploy.airflow.timetable import PartitionTimetable

PREFIX = "/batchdeploy"
MAX_CHARACTERS = 250
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def create_app() -> Any:
    """The ASGI application with the pages, which Airflow's API server mounts."""
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.common.db.common import SessionDep
    from airflow.api_fastapi.core_api.security import requires_access_dag
    from fastapi import Depends, FastAPI
    from fastapi.responses import HTMLResponse

    from batchdeploy.airflow.report_page import render_page

    app = FastAPI(title="batchdeploy", docs_url=None, redoc_url=None, openapi_url=None)

    # NOTE: Airflow does not protect plugin routes; without this dependency anybody could read reports.
    guard = [Depends(_refuse_impossible_names), Depends(requires_access_dag("GET", DagAccessEntity.RUN))]

    def report(dag_id: str, run_id: str, session: Any, number: int | None = None) -> HTMLResponse:
        """The report of a DAG run, a list if it has several, or its progress if it has none."""
        return HTMLResponse(render_page(session, dag_id, run_id, number), headers=HEADERS)

    report.__annotations__["session"] = SessionDep
    app.get("/report", dependencies=guard)(report)
    return app


def _refuse_impossible_names(dag_id: str, run_id: str) -> None:
    """Raises a 404 for ids that Airflow cannot have; PostgreSQL would fail on a zero byte."""
    from fastapi import HTTPException

    if any("\0" in name or not 0 < len(name) <= MAX_CHARACTERS for name in (dag_id, run_id)):
        raise HTTPException(404, "There is no such DAG run.")


class LazyApp:
    """An ASGI application that is created at its first request.

    Every Airflow process loads plugins, including tasks; only the API server should import FastAPI.
    """

    def __init__(self, create: Callable[[], Any]) -> None:
        self._create = create
        self._made: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Forwards the request."""
        if self._made is None:
            self._made = self._create()
        await self._made(scope, receive, send)


class BatchdeployPlugin(AirflowPlugin):
    """Registers the tab, its page, the task links and the timetable."""

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
    timetables: ClassVar[list[Any]] = [PartitionTimetable]
