"""Rolling back, on fakes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import FakeToolbox, make_tools, rows
from fakes.stage_calls import DAY, plan_of, published_of, scored_of, scores

from batchdeploy.core.maintenance import CleanupReport
from batchdeploy.core.request import StepRequest
from batchdeploy.errors import PartitionError, StaleRunError, TableError
from batchdeploy.workflows.rollback import rollback
from batchdeploy.workflows.step import take_step

pytestmark = pytest.mark.usefixtures("no_files")


def publish(tools: FakeToolbox) -> str:
    plan = plan_of(tools)
    return published_of(tools, plan, scored_of(tools, plan)).run_id


def test_the_run_before_is_visible_again_and_can_be_left_again() -> None:
    tools = make_tools()
    first = publish(tools)
    tools.registry.move_alias("doubles", "champion", seen=1, version=2)
    second = publish(tools)
    assert scores(tools)[f"{DAY}/1/2"] == 15.0
    done = rollback(tools, DAY)
    assert (done.partition, done.run_id, done.replaced) == (DAY, first, second)
    assert scores(tools)[f"{DAY}/1/2"] == 10.0
    assert rollback(tools, DAY, to=second).run_id == second
    assert scores(tools)[f"{DAY}/1/2"] == 15.0
    assert len(tools.maintenance.recovered_at) == 2


def test_an_orchestrator_rolls_back_and_recovers_by_the_same_workflows() -> None:
    tools = make_tools()
    first = publish(tools)
    tools.registry.move_alias("doubles", "champion", seen=1, version=2)
    second = publish(tools)
    answer = take_step(tools, StepRequest(step="rollback", partition=DAY))
    assert answer["folder"] == str(tools.layout.run(f"date={DAY}", first))
    assert (answer["run_id"], answer["replaced"], answer["model_version"]) == (first, second, 1)
    assert scores(tools)[f"{DAY}/1/2"] == 10.0
    take_step(tools, StepRequest(step="rollback", partition=DAY, to=second))
    assert scores(tools)[f"{DAY}/1/2"] == 15.0
    for step in ("recover", "collect_garbage"):
        answer = take_step(tools, StepRequest(step=step))  # type: ignore[arg-type]
        assert answer["outcome"] == "done"
        assert CleanupReport(**{name: answer[name] for name in CleanupReport.__slots__}).summary() == ()
    with pytest.raises(PartitionError, match="no partition was given"):
        take_step(tools, StepRequest(step="rollback"))


def test_an_orchestrator_is_told_the_model_of_the_restored_run() -> None:
    tools = make_tools()
    publish(tools)
    tools.registry.move_alias("doubles", "champion", seen=1, version=2)
    publish(tools)
    tools.deployment = replace(tools.deployment, model=replace(tools.deployment.model, name="another"))
    answer = take_step(tools, StepRequest(step="rollback", partition=DAY))
    assert (answer["model"], answer["model_version"]) == ("doubles", 1)


def test_there_must_be_a_run_to_go_back_to() -> None:
    tools = make_tools()
    publish(tools)
    for partition in (DAY, "2031-01-01"):
        with pytest.raises(PartitionError, match="no earlier run to go back to"):
            rollback(tools, partition)
    with pytest.raises(PartitionError, match="write 2024-01-01"):
        rollback(tools, "2024-1-1")


def test_a_run_published_just_then_is_not_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    tools = make_tools()
    publish(tools)
    tools.source.put("data", DAY, *rows(DAY, count=4))
    second = publish(tools)
    # The patch stands for a publisher that comes between the look and the step.
    seen = iter((second, "f" * 16))
    monkeypatch.setattr(tools.table, "published_run", lambda folder: next(seen))
    with pytest.raises(StaleRunError):
        rollback(tools, DAY)


def test_another_deployments_table_is_left_alone() -> None:
    tools = make_tools()
    publish(tools)
    tools.deployment = replace(tools.deployment, name="other")
    with pytest.raises(TableError, match="belongs to deployment doubling"):
        rollback(tools, DAY)
