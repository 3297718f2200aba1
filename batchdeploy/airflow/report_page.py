"""Renders the Report tab of a DAG run: its report, a list of several, or the run's progress."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from batchdeploy.airflow.links import COMPARISON_KEY, RUN_KEY, SUMMARY_KEY
from batchdeploy.airflow.promotion_page import find_outcome, read_comparison, render_promotion
from batchdeploy.airflow.report_access import ControlFolder, control_folders, find_key, open_folder
from batchdeploy.airflow.step_operator import PROBLEM_KEY
from batchdeploy.core.layout import PAGE, RUNS, is_page_key
from batchdeploy.errors import BatchdeployError
from batchdeploy.redaction import redact
from batchdeploy.storage.run_records import RunRecords

STEPS = ("plan", "validate", "score", "drift", "publish")


@dataclass(frozen=True, slots=True)
class RunOutputs:
    """XCom values that the tasks of a DAG run pushed.

    Attributes:
        folders: (task, run's folder), the newest of each group of tasks.
        problems: failure messages of the tasks.
    """

    folders: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]


def render_page(session: Any, dag_id: str, run_id: str, number: int | None = None) -> str:
    """The page as HTML.

    Args:
        session: of Airflow's database.
        dag_id: the DAG; the caller has checked that the user may read its runs.
        run_id: the DAG run.
        number: which of several reports.
    """
    found = find_runs(session, dag_id, run_id)
    controls = served_folders(session, dag_id, run_id)
    for task, _, path in reversed(read_xcom_texts(session, dag_id, run_id, COMPARISON_KEY)):
        if (compared := read_comparison(path, controls.get(task, frozenset()))) is not None:
            return render_promotion(compared, find_outcome(session, dag_id, run_id), found.problems)
    pages: dict[str, str] = {}
    foreign, unread = [], []
    for task, folder in found.folders:
        served = controls.get(task, frozenset())
        try:
            page = read_report(folder, served)
        except (OSError, BatchdeployError) as error:
            unread.append(f"{task}: the report in {folder} cannot be read: {redact(str(error))}")
            continue
        if page is not None:
            pages[folder] = page
        elif not any(folder.startswith(f"{control.path}/{RUNS}/") for control in served):
            foreign.append(f"{task}: what it handed on is no run of its deployment, and is not shown")
    if number is not None and 0 <= number < len(pages):
        return list(pages.values())[number]
    if len(pages) == 1:
        return next(iter(pages.values()))
    folders = [] if foreign else list(dict.fromkeys(folder for _, folder in found.folders))
    problems = [*found.problems, *foreign, *unread]
    names: dict[str, object] = {"dag_id": dag_id, "run_id": run_id}
    summaries = [f"{task}: {text}" for task, _, text in read_xcom_texts(session, dag_id, run_id, SUMMARY_KEY)]
    names |= {"folders": folders, "problems": problems, "reports": list(pages), "summaries": summaries}
    return str(_template().render(names))


def find_runs(session: Any, dag_id: str, run_id: str) -> RunOutputs:
    """The run folders of a DAG run, one per task group, and the tasks' failure messages.

    Takes the newest folder of a group: a task that is cleared after rows were fixed pushes another folder.
    """
    folders = read_xcom_texts(session, dag_id, run_id, RUN_KEY)
    groups = {(group_of(task), index): (task, folder) for task, index, folder in folders}
    failed = read_xcom_texts(session, dag_id, run_id, PROBLEM_KEY)
    return RunOutputs(tuple(groups.values()), tuple(f"{task}: {text}" for task, _, text in failed))


def read_xcom_texts(session: Any, dag_id: str, run_id: str, key: str) -> list[tuple[str, int, str]]:
    """(task, map index, text) of the XComs of a DAG run under a key, in order of time."""
    from airflow.models.xcom import XComModel

    query = XComModel.get_many(run_id=run_id, dag_ids=dag_id, key=key)
    rows = sorted(session.scalars(query), key=lambda row: row.timestamp)
    texts = ((row.task_id, row.map_index, _text(row.value)) for row in rows)
    return [(task, index, text) for task, index, text in texts if text is not None]


def served_folders(session: Any, dag_id: str, run_id: str) -> dict[str, frozenset[ControlFolder]]:
    """Task to the control folders of its deployments, by the versions of the DAG that the run's tasks ran."""
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    mine = (TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
    versions = select(TaskInstance.dag_version_id).where(*mine).distinct()
    found: dict[str, frozenset[ControlFolder]] = {}
    for model in session.scalars(
        select(SerializedDagModel).where(SerializedDagModel.dag_version_id.in_(versions))
    ):
        dag = model.dag
        for task in dag.task_dict.values():
            known = found.get(task.task_id, frozenset[ControlFolder]())
            found[task.task_id] = known | control_folders(task, dag.fileloc)
    return found


def read_report(folder: str, controls: frozenset[ControlFolder]) -> str | None:
    """The report in a run's folder; None if it is missing or outside these control folders.

    Raises:
        OSError, PublishError: the store of a control folder does not answer, or cannot be opened.
    """
    for control in controls:
        key = find_key(control, f"{folder}/{PAGE}", is_page_key)
        if key is not None:
            page = RunRecords(open_folder(control)).find_page(key.rpartition("/")[0])
            if page is not None:
                return page
    return None


def group_of(task: str) -> str:
    """The key that identifies a task's run: its group for one of the five steps, else the task itself."""
    group, _, name = task.rpartition(".")
    return group if name in STEPS else task


def _text(value: Any) -> str | None:
    """The text of an XCom; any other type is ignored, because XComs are not trusted."""
    with suppress(TypeError, ValueError, RecursionError):
        value = json.loads(value)
    return value if isinstance(value, str) else None


@cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("batchdeploy.airflow", "pages")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(
        "no_report.html.j2"
    )
