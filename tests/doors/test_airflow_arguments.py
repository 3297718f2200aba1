"""Airflow's door: what people say of a DAG and its tasks goes over what the deployment says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore")]

SAID: dict[str, Any] = {
    "owner": "somebody",
    "retries": 7,
    "retry_delay": timedelta(seconds=5),
    "retry_exponential_backoff": 0.0,
    "retry_policy": None,
    "max_active_tis_per_dag": 4,
    "pool": "scoring",
}


def said_of(task: Any) -> dict[str, Any]:
    return {name: getattr(task, name) for name in SAID}


def test_default_args_go_over_what_the_steps_bring(deployment: Path) -> None:
    from airflow.sdk import DAG, Asset

    from batchdeploy.airflow import PromotionDag, RunOperator, ScoringDag, ScoringTaskGroup

    more = {"start_date": datetime(2020, 1, 1, tzinfo=UTC), "outlets": [Asset("mine")]}
    dag = ScoringDag(str(deployment), default_args=SAID | more)
    assert [said_of(task) for task in dag.tasks] == [SAID] * 5
    assert dag.start_date == more["start_date"]
    assert [a.name for a in dag.get_task("publish").outlets] == ["churn/scores", "mine"]
    promotion = PromotionDag(str(deployment), default_args=SAID)
    assert [task.owner for task in promotion.tasks] == ["somebody"] * 3
    with DAG("own", default_args=SAID):
        own = RunOperator(task_id="run", deployment=str(deployment))
        of_its_own = RunOperator(task_id="other", deployment=str(deployment), owner="else", retries=0)
        group = ScoringTaskGroup(str(deployment), default_args={"owner": "group"})
    assert said_of(own) == SAID
    assert said_of(of_its_own) == SAID | {"owner": "else", "retries": 0}
    assert {task.owner for task in group.iter_tasks()} == {"group"}
    assert {task.retries for task in group.iter_tasks()} == {7}


def test_without_them_the_steps_keep_what_they_bring(deployment: Path) -> None:
    from airflow.sdk import DAG

    from batchdeploy.airflow import RunOperator, ScoringDag
    from batchdeploy.airflow.step_operator import RETRY_POLICY

    for task in ScoringDag(str(deployment), default_args={"pool": "scoring"}).tasks:
        assert (task.owner, task.retries, task.retry_delay) == ("tests", 3, timedelta(seconds=30))
        assert (task.retry_exponential_backoff, task.retry_policy) == (2.0, RETRY_POLICY)
        assert task.pool == "scoring"
        assert task.max_active_tis_per_dag == (1 if task.task_id in ("validate", "score") else None)
    with DAG("mapped"):
        mapped = RunOperator.partial(task_id="all").expand(deployment=[str(deployment)])
    assert (mapped.retries, mapped.retry_policy) == (3, RETRY_POLICY)
