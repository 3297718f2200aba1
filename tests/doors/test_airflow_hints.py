"""What people read in Airflow after a failure: what to click there, and no command of a shell."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from batchdeploy.core.request import StepRequest
from batchdeploy.errors import (
    BatchdeployError,
    DataError,
    DriftRefused,
    EngineError,
    PartitionError,
    PublishError,
    ScoringRefused,
    StaleRunError,
    TableError,
    ValidationRefused,
)

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore")]
NAMES = ("plan", "validate", "score", "drift", "publish")


class Instance:
    """A task instance that remembers what it is told."""

    dag_id, run_id, try_number = "churn", "r", 1

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, *, key: str, value: Any) -> None:
        self.pushed[key] = value


def executed(task: Any, run: Any, answer: Any) -> tuple[Instance, BaseException | None]:
    """Executes a task after a task that handed this on; its step answers, or raises, this."""
    task = task.prepare_for_execution()
    task.run = run
    instance = Instance()

    def take(_request: StepRequest) -> dict[str, Any]:
        if isinstance(answer, BaseException):
            raise answer
        return dict(answer)

    task._run_step = take
    try:
        task.execute({"ti": instance, "params": {"partition": "2024-03-02"}, "outlet_events": Events()})
    except Exception as error:  # noqa: BLE001
        instance.pushed["model"] = task.pinned_model
        return instance, error
    instance.pushed["model"] = task.pinned_model
    return instance, None


class Events(dict[Any, Any]):
    def __missing__(self, key: Any) -> Any:
        self[key] = SimpleNamespace(add_partitions=lambda _key: None)
        return self[key]


@pytest.fixture
def tasks(deployment: Path) -> dict[str, Any]:
    from batchdeploy.airflow import ScoringDag

    return dict(ScoringDag(str(deployment)).task_dict)


AGAIN = "nothing was published; run it again: it plans against the published run"
CASES: list[tuple[str, BatchdeployError, str]] = [
    (
        "validate",
        ValidationRefused("x", "bad", hint="batchdeploy show a1 has the evidence; nothing was published"),
        "Hint: nothing was published; when that is fixed, clear validate and what follows it; "
        "the tab Report has the evidence",
    ),
    (
        "score",
        ScoringRefused("x", "bad", hint="fix the rows, or raise quarantine.max_share"),
        "Hint: fix the rows, or raise quarantine.max_share; when that is fixed, clear score and what",
    ),
    (
        "score",
        ScoringRefused("x", "b", hint="policy says fail; the rows are in quarantine: batchdeploy show a1"),
        "Hint: policy says fail; when that is fixed, clear score and what follows it",
    ),
    ("score", DataError("x", "changed while it was scored", hint="run it again"), "clear score and what"),
    ("drift", DriftRefused("x", "far", hint="drift.on_alarm: warn would"), "clear validate and what"),
    ("drift", DataError("x", "changed", hint="plan the run again"), "fixed, clear validate and what"),
    ("publish", StaleRunError("x", "late", hint=AGAIN), "nothing was published; clear plan and what follows"),
    (
        "publish",
        PublishError("x", "full", hint="free space, then run the same again; batchdeploy status says it"),
        "Hint: free space; Airflow tries again while tries are left; after that clear validate and what",
    ),
    ("score", EngineError("Spark", "dead", hint="batchdeploy doctor"), "Hint: Airflow tries again while"),
    ("plan", TableError("x", "no", hint="or say --evolve: readers"), "or trigger it with the param evolve"),
    ("plan", PartitionError("x", "no", hint="there are 3 from a to b"), "Hint: there are 3 from a to b"),
]


@pytest.mark.parametrize(("name", "error", "said"), CASES, ids=[f"{c[0]} {c[1].hint}" for c in CASES])
def test_a_failure_says_what_to_click(
    tasks: dict[str, Any], name: str, error: BatchdeployError, said: str
) -> None:
    instance, raised = executed(tasks[name], {"folder": "/f"}, error)
    assert raised is not None
    for text in (instance.pushed["batchdeploy_problem"], " ".join(str(raised).split("\n"))):
        assert said in text
        assert "run it again" not in text
        assert not any(
            word in text for word in ("batchdeploy show", "batchdeploy doctor", "batchdeploy status")
        )
        assert text.count("clear ") <= 1


def test_the_tab_shows_the_attempt_that_was_refused(tasks: dict[str, Any]) -> None:
    from batchdeploy.airflow.interpreter import _error
    from batchdeploy.cli import _plain

    error = ScoringRefused("x", "bad")
    error.folder = "/new"
    instance, _ = executed(tasks["score"], {"folder": "/old"}, _error(_plain(error)))
    assert instance.pushed["batchdeploy_run"] == "/new"


def test_in_a_group_the_tasks_have_their_groups_names(deployment: Path) -> None:
    from airflow.sdk import DAG

    from batchdeploy.airflow import PublishOperator, ScoringTaskGroup

    with DAG("night", schedule=None) as dag:
        ScoringTaskGroup(str(deployment), group_id="g")
        PublishOperator(task_id="alone", deployment=str(deployment), run="/f")
    _, raised = executed(dag.task_dict["g.drift"], {"folder": "/f"}, DataError("x", "y"))
    assert "clear g.validate and what follows it" in str(raised)
    _, raised = executed(dag.task_dict["alone"], "/f", DataError("x", "y"))
    assert "clear alone and what follows it" in str(raised)


@pytest.mark.parametrize("name", NAMES[1:])
@pytest.mark.parametrize("run", [None, {}, ""])
def test_a_gate_is_not_passed_by_marking_its_task(tasks: dict[str, Any], name: str, run: Any) -> None:
    before = NAMES[NAMES.index(name) - 1]
    instance, raised = executed(tasks[name], run, {"outcome": "done"})
    text = instance.pushed["batchdeploy_problem"]
    assert text == str(raised)
    assert f"{before}: handed on nothing: it was marked as success by hand" in text
    assert "marking a task passes no gate: fix the rows, or change the deployment" in text
    assert f"then clear {before} and what follows it" in text


@pytest.mark.parametrize("name", NAMES)
def test_every_task_knows_the_model_for_its_link(tasks: dict[str, Any], name: str) -> None:
    answer = {"outcome": "done", "folder": "/f", "run_id": "r", "partition": "p", "rows": 1, "data": "d"}
    answer |= {
        "model": "churn",
        "model_version": 7,
        "alias": None,
        "replaces": None,
        "changes": [],
        "state": "",
    }
    instance, raised = executed(tasks[name], {"folder": "/f"}, answer)
    assert raised is None
    assert instance.pushed["model"] == ("churn", 7)
    if name != "plan":
        instance, _ = executed(tasks[name], answer, ScoringRefused("x", "y"))
        assert instance.pushed["model"] == ("churn", 7), "a task that failed has the link, too"
