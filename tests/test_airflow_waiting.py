"""Airflow's door: a task that waits for rows in the triggerer, which looks for them itself."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow_runs import task_context
from tests_support import customers, write_day

from batchdeploy.errors import RequestError

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore")]

DAY = "2024-03-09"
MISSING = {"outcome": "missing", "partition": DAY, "reason": "no such partition"}


def waiting(deployment: Path, more: str = "") -> Path:
    text = deployment.read_text().replace("  keys:", "  on_missing: wait\n  poll_seconds: 0.05\n  keys:")
    deployment.write_text(text + more)
    return deployment


def context(**told: Any) -> dict[str, Any]:
    ti = SimpleNamespace(
        xcom_push=lambda key, value: told.update({key: value}),
        get_first_reschedule_date=lambda _context: None,
    )
    return {"ti": ti, "dag_run": SimpleNamespace(run_type="scheduled"), "params": {}, "told": told}


def fire(deployment: Path, *, until: datetime, bring: Path | None = None) -> Any:
    """What the trigger says; with ``bring``, the rows arrive after its first look."""
    from batchdeploy.airflow.rows_trigger import RowsTrigger

    trigger = RowsTrigger(str(deployment), str(deployment.parents[1]), DAY, until.isoformat())
    name, arguments = trigger.serialize()
    assert name == "batchdeploy.airflow.rows_trigger.RowsTrigger"
    trigger = RowsTrigger(**arguments)
    look, looks = trigger._look, []

    def look_and_bring() -> tuple[bool, float]:
        looks.append(look())
        if bring is not None and len(looks) == 1:
            write_day(bring / "data" / "customers", DAY, customers(DAY))
        return looks[-1]

    trigger._look = look_and_bring  # type: ignore[method-assign]

    async def first() -> Any:
        async for event in trigger.run():
            return event.payload

    event = asyncio.run(first())
    assert [found for found, _ in looks] in ([False, True], [False], [True], [])
    return event


def test_the_trigger_fires_when_rows_arrive_when_it_is_late_and_when_it_cannot_look(
    project: Path, deployment: Path
) -> None:
    waiting(deployment)
    now = datetime.now(UTC)
    assert fire(deployment, until=now - timedelta(hours=1)) == "late"
    assert fire(deployment, until=now + timedelta(hours=1), bring=project) == "found"
    assert "no such file" in fire(deployment.with_name("none.yaml"), until=now + timedelta(hours=1))


def test_a_task_is_deferred_with_the_time_that_it_began_to_wait(deployment: Path) -> None:
    from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

    from batchdeploy.airflow import ScoringDag

    waiting(deployment)
    plan = ScoringDag(str(deployment), wait="defer").get_task("plan")
    with pytest.raises(TaskDeferred) as deferred:
        plan.conclude(dict(MISSING), context())
    trigger, since = deferred.value.trigger, deferred.value.kwargs["since"]
    assert deferred.value.method_name == "execute_after_wait"
    assert trigger.partition == DAY
    assert datetime.fromisoformat(trigger.until) - datetime.fromisoformat(since) == timedelta(hours=24)
    # A later task of the same wait, which finds nothing again, waits until the same time.
    plan._waiting_since = "2024-03-09T00:00:00+00:00"
    with pytest.raises(TaskDeferred) as deferred:
        plan.conclude(dict(MISSING), context())
    assert deferred.value.trigger.until == "2024-03-10T00:00:00+00:00"
    now = context()
    with pytest.raises(AirflowFailException, match="waited 24 hours"):
        plan.execute_after_wait(now, "late", since)
    assert "data.wait_hours" in now["told"]["batchdeploy_problem"]


@pytest.mark.parametrize(
    ("mode", "more"),
    [
        ("reschedule", ""),
        ("defer", "storage: {connection: lake}\n"),
        ("defer", "airflow: {python: .venv/bin/python}\n"),
    ],
)
def test_a_task_is_rescheduled_where_the_triggerer_could_not_look(
    deployment: Path, mode: Any, more: str
) -> None:
    from airflow.sdk.exceptions import AirflowRescheduleException

    from batchdeploy.airflow import ScoringDag

    waiting(deployment, more)
    run = ScoringDag(str(deployment), wait=mode, tasks="one").get_task("run")
    with pytest.raises(AirflowRescheduleException):
        run.conclude(dict(MISSING), context())


def test_a_task_that_does_not_see_the_rows_that_the_triggerer_found_is_rescheduled(deployment: Path) -> None:
    from airflow.sdk.exceptions import AirflowRescheduleException

    from batchdeploy.airflow import ScoringDag

    dag = ScoringDag(str(waiting(deployment)), wait="defer")
    plan, now = dag.get_task("plan"), task_context(dag, DAY)
    with pytest.raises(AirflowRescheduleException):
        plan.execute_after_wait(now, "found", datetime.now(UTC).isoformat())


def test_the_triggerer_starts_no_spark_for_a_table_of_its_catalog(deployment: Path) -> None:
    from airflow.sdk.exceptions import AirflowRescheduleException

    from batchdeploy.airflow import ScoringDag

    plan = ScoringDag(str(waiting(deployment)), wait="defer").get_task("plan")
    plan.spec = replace(plan.spec, data=replace(plan.spec.data, path="crm.customers", format="catalog"))
    with pytest.raises(AirflowRescheduleException):
        plan.conclude(dict(MISSING), context())


def test_another_way_to_wait_is_refused(deployment: Path) -> None:
    from batchdeploy.airflow import ScoringDag

    with pytest.raises(RequestError, match="wait: must be 'reschedule' or 'defer', got 'sleep'"):
        ScoringDag(str(deployment), wait="sleep")  # type: ignore[arg-type]


def test_a_deferred_task_scores_the_rows_that_arrive(project: Path, deployment: Path) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    from batchdeploy.airflow import ScoringDag

    waiting(deployment)
    dag = ScoringDag(str(deployment), tasks="one", wait="defer")
    now = task_context(dag, DAY)
    with pytest.raises(TaskDeferred) as deferred:
        dag.get_task("run").execute(now)
    write_day(project / "data" / "customers", DAY, customers(DAY))
    trigger = deferred.value.trigger

    async def first() -> Any:
        async for event in trigger.run():
            return event.payload

    # Airflow calls the task again in another process, with another operator.
    again = ScoringDag(str(deployment), tasks="one", wait="defer").get_task("run")
    answer = again.execute_after_wait(now, asyncio.run(first()), **deferred.value.kwargs)
    assert (answer["partition"], answer["rows"]) == (DAY, 200)
