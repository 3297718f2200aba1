"""Airflow's door: what people say of a DAG and its tasks goes over what the deployment says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batchdeploy.errors import RequestError

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


def test_a_run_is_five_tasks_or_one(deployment: Path) -> None:
    from airflow.sdk import DAG

    from batchdeploy.airflow import ScoringDag, ScoringTaskGroup

    five, one = ScoringDag(str(deployment)), ScoringDag(str(deployment), tasks="one", dag_id="one")
    assert list(five.task_ids) == ["plan", "validate", "score", "drift", "publish"]
    assert list(one.task_ids) == ["run"]
    run = one.get_task("run")
    assert [asset.name for asset in run.outlets] == ["churn/scores", "churn/drift"]
    assert [asset.name for asset in run.inlets] == ["churn/model"]
    assert one.params.keys() == five.params.keys()
    # The local engine uses all cores.
    assert (run.retries, run.max_active_tis_per_dag) == (3, 1)
    with DAG("own"):
        group = ScoringTaskGroup(str(deployment), tasks="one", task_arguments={"run": {"pool": "big"}})
    assert [(task.task_id, task.pool) for task in group.iter_tasks()] == [("churn.run", "big")]


def test_arguments_of_single_tasks_go_over_those_of_all(deployment: Path) -> None:
    from batchdeploy.airflow import ScoringDag

    pod = {"pod_override": "big"}
    wanted = {
        "pool": "big",
        "queue": "gpu",
        "executor_config": pod,
        "retries": 1,
        "max_active_tis_per_dag": 2,
    }
    dag = ScoringDag(
        str(deployment),
        default_args={"retries": 7, "pool": "small"},
        task_arguments={"score": wanted, "plan": {"retries": 0}},
    )
    score, plan, drift = (dag.get_task(name) for name in ("score", "plan", "drift"))
    assert {name: getattr(score, name) for name in wanted} == wanted
    assert (plan.retries, plan.pool, plan.queue) == (0, "small", "default")
    assert (drift.retries, drift.pool) == (7, "small")


@pytest.mark.parametrize(
    ("said", "problems"),
    [
        ({"tasks": "two"}, ["tasks: must be 'five' or 'one', got 'two'"]),
        ({"task_arguments": {"scor": {}}}, ["task_arguments['scor']: no such task; did you mean score?"]),
        ({"tasks": "one", "task_arguments": {"score": {}}}, ["task_arguments['score']: no such task"]),
        ({"task_arguments": ["score"]}, ["task_arguments: must be a dict of task to its arguments"]),
        ({"task_arguments": {"score": "big"}}, ["task_arguments['score']: must be a dict of the operator's"]),
        (
            {"task_arguments": {"plan": {"poool": "a"}, "score": {"run": 1, "do_xcom_push": False}}},
            [
                "task_arguments['plan']['poool']: no argument of an operator; did you mean pool?",
                "task_arguments['score']['run']: cannot be set: each task continues the run",
                "task_arguments['score']['do_xcom_push']: cannot be set: a task hands its run on",
            ],
        ),
    ],
)
def test_a_task_or_an_argument_that_is_not_there_is_one_error(
    deployment: Path, said: dict[str, Any], problems: list[str]
) -> None:
    from batchdeploy.airflow import ScoringDag, ScoringTaskGroup

    for make in (ScoringDag, ScoringTaskGroup):
        with pytest.raises(RequestError) as caught:
            make(str(deployment), **said)
        lines = [line.removeprefix("- ") for line in str(caught.value).splitlines()[1:]]
        assert all(line.startswith(problem) for line, problem in zip(lines, problems, strict=False))
        assert len(caught.value.problems) == len(problems)
