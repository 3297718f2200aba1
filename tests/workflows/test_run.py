"""Running one partition, on fakes: from the plan to visible scores, or to the evidence of a refusal."""

from __future__ import annotations

import json
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from fakes import FakeToolbox, make_tools, rows
from fakes.reference import reference_text
from fakes.stage_calls import DAY, plan_of, published_of, scored_of, scores

from batchdeploy.core.deployment import DriftSpec, QuarantineSpec
from batchdeploy.core.records import CheckReport, DriftReport, Manifest, Plan, Refusal, ScoredBatch
from batchdeploy.errors import (
    DataError,
    DriftRefused,
    EngineError,
    PartitionError,
    PublishError,
    ScoringRefused,
    StaleRunError,
    ValidationRefused,
)
from batchdeploy.workflows.run import PartitionSkipped, run

pytestmark = pytest.mark.usefixtures("no_files")

POSITIVE = {
    "name": "positive",
    "expectations": [
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "x", "min_value": 1}},
    ],
}


def records_of(tools: FakeToolbox) -> set[str]:
    """The names of the records that the one run's one attempt left."""
    (found,) = tools.records.runs()
    (attempt,) = found.attempts
    prefix = f"{found.key}/attempts/{attempt}"
    return {entry.key.rpartition("/")[2] for entry in tools.storage.list(prefix)}


def break_a_key(tools: FakeToolbox, day: str = DAY) -> None:
    """Gives one of a day's six rows no key, so that it is quarantined."""
    first, second = rows(day)
    tools.source.put("data", day, first, second.set_column(0, "id", pa.array([None, "b", "c"])))


def test_rows_that_change_between_scoring_and_publishing_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tools = make_tools()
    first, second = rows(DAY)
    write_drift = tools.evidence.write_drift

    def change(*arguments: Any) -> None:
        write_drift(*arguments)
        tools.source.put("data", DAY, first, first, second)

    monkeypatch.setattr(tools.evidence, "write_drift", change)
    with pytest.raises(DataError) as raised:
        run(tools, DAY)
    found = [(problem.path, problem.problem) for problem in raised.value.problems]
    assert found == [
        (f"date={DAY}/part-1.parquet", "changed since it was pinned"),
        (f"date={DAY}/part-2.parquet", "was added since the partition was pinned"),
    ]
    assert tools.table.audit == []
    assert tools.staging.attempts == {}


def test_rows_become_visible_scores_with_all_records() -> None:
    tools = make_tools()
    told: list[tuple[str, int]] = []
    outcome = run(tools, DAY, progress=lambda stage, done: told.append((stage, done)))
    assert outcome.status == "published"
    assert scores(tools) == {f"{DAY}/{f}/{i}": 2.0 * (3 * f + i) for f in range(2) for i in range(3)}
    stages = ("resolve", "validate", "score", "drift", "publish", "report")
    assert tuple(dict.fromkeys(stage for stage, _ in told)) == stages
    assert sum(done for stage, done in told if stage == "score") == 6
    assert records_of(tools) == {"plan.json", "check.json", "scored.json", "drift.json", "report.html"}
    (found,) = tools.records.runs()
    assert tools.records.verify(found.key) == ()
    for kind in (Plan, CheckReport, ScoredBatch, DriftReport, Manifest):
        assert tools.records.find(found.key, kind) is not None
    assert tools.records.has_page(found.key)
    assert tools.staging.attempts == {}
    assert len(tools.maintenance.recovered_at) == 1


def test_the_second_time_it_is_identical() -> None:
    tools = make_tools()
    first = run(tools, DAY)
    keys = {entry.key for entry in tools.storage.list("")}
    second = run(tools, DAY)
    assert (second.status, second.manifest) == ("identical", first.manifest)
    assert {entry.key for entry in tools.storage.list("")} == keys
    assert len(tools.engine.shipped) == 1


def test_a_repeat_is_scored_again_as_the_same_run() -> None:
    tools = make_tools()
    first = run(tools, DAY)
    second = run(tools, DAY, repeat=True)
    assert second.status == "published"
    assert second.manifest.run_id == first.manifest.run_id
    assert second.manifest.attempt != first.manifest.attempt
    assert tools.table.generations(f"date={DAY}") == ()


def test_another_model_is_another_run_that_says_why() -> None:
    tools = make_tools()
    first = run(tools, DAY)
    tools.registry.move_alias("doubles", "champion", seen=1, version=2)
    second = run(tools, DAY)
    assert second.manifest.replaced == first.manifest.run_id
    plan = tools.records.read(f"runs/date={DAY}/{second.manifest.run_id}", Plan)
    assert plan.changes == ("model doubles version 1 → doubles version 2",)
    assert scores(tools)[f"{DAY}/1/2"] == 15.0


def test_too_many_quarantined_rows_are_refused_and_kept() -> None:
    tools = make_tools(quarantine=QuarantineSpec(max_share=0.1))
    break_a_key(tools)
    with pytest.raises(ScoringRefused, match="1 of 6 rows quarantined") as caught:
        run(tools, DAY)
    (found,) = tools.records.runs()
    assert caught.value.run_id == found.run_id
    names = {"plan.json", "check.json", "scored.json", "refusal.json", "report.html"}
    assert records_of(tools) == names
    refusal = tools.records.read(found.key, Refusal)
    assert refusal.gate == "ScoringRefused"
    (kept,) = tools.evidence.quarantine.values()
    assert sum(table.num_rows for table in kept.values()) == 1
    assert tools.table.published_partitions() == ()
    assert tools.staging.attempts == {}


def test_an_expectation_that_blocks_is_refused_before_any_row_is_scored() -> None:
    tools = make_tools(expectations="suite.json")
    tools.texts.texts["suite.json"] = json.dumps(POSITIVE)
    with pytest.raises(ValidationRefused, match="1 of 6 rows"):
        run(tools, DAY)
    assert records_of(tools) == {"plan.json", "check.json", "refusal.json", "report.html"}
    assert tools.engine.shipped == []
    assert tools.table.published_partitions() == ()


@pytest.mark.parametrize("on_alarm", ["warn", "block"])
def test_drift_is_said_or_refused(on_alarm: Literal["warn", "block"]) -> None:
    tools = make_tools(drift=DriftSpec(reference="reference.json", on_alarm=on_alarm))
    tools.texts.texts["reference.json"] = reference_text()
    tools.source.put("data", DAY, *(t.set_column(1, "x", pc.add(t["x"], 80.0)) for t in rows(DAY, count=50)))
    if on_alarm == "warn":
        assert sorted(run(tools, DAY).manifest.drift_alarms) == ["x", "y"]
        return
    with pytest.raises(DriftRefused, match="than in ordinary partitions"):
        run(tools, DAY)
    names = {"plan.json", "check.json", "scored.json", "drift.json", "refusal.json", "report.html"}
    assert records_of(tools) == names
    assert [report.verdict for report in tools.evidence.drift.values()] == ["critical"]
    assert tools.staging.attempts == {}
    assert tools.table.published_partitions() == ()


def test_rows_that_were_mended_pass_the_second_time() -> None:
    tools = make_tools(quarantine=QuarantineSpec(max_share=0.1))
    break_a_key(tools)
    with pytest.raises(ScoringRefused):
        run(tools, DAY)
    tools.source.put("data", DAY, *rows(DAY))
    assert run(tools, DAY).status == "published"
    assert len(scores(tools)) == 6


def test_a_partition_without_rows_is_missing_or_skipped_and_leaves_nothing() -> None:
    tools = make_tools()
    with pytest.raises(PartitionError, match="no such partition") as caught:
        run(tools, "2031-01-01")
    assert not isinstance(caught.value, PartitionSkipped)
    with pytest.raises(PartitionSkipped):
        run(tools, "2031-01-01", on_missing="skip")
    with pytest.raises(PartitionError, match="write 2024-01-01"):
        run(tools, "2024-1-1")
    assert list(tools.storage.list("")) == []


def test_a_failure_outside_leaves_what_was_found_and_can_be_tried_again() -> None:
    tools = make_tools()
    tools.engine.failure = EngineError("Spark", "did not start")
    with pytest.raises(EngineError):
        run(tools, DAY)
    assert records_of(tools) == {"plan.json", "check.json"}
    assert tools.staging.attempts == {}
    tools.engine.failure = None
    assert run(tools, DAY).status == "published"


def test_a_lost_split_publishes_nothing() -> None:
    tools = make_tools()
    tools.engine.loses = {0}
    with pytest.raises(EngineError, match="rows read"):
        run(tools, DAY)
    assert tools.table.published_partitions() == ()


def test_a_table_that_cannot_be_written_publishes_nothing() -> None:
    tools = make_tools()
    tools.table.failure = PublishError("the table", "is full")
    with pytest.raises(PublishError):
        run(tools, DAY)
    assert tools.staging.attempts == {}
    assert tools.table.published_partitions() == ()


def test_a_run_that_is_overtaken_publishes_nothing() -> None:
    tools = make_tools()

    def overtake() -> None:
        tools.table.before_fence = lambda: None
        tools.registry.move_alias("doubles", "champion", seen=1, version=2)
        other = plan_of(tools)
        published_of(tools, other, scored_of(tools, other))

    tools.table.before_fence = overtake
    with pytest.raises(StaleRunError):
        run(tools, DAY)
    assert scores(tools)[f"{DAY}/1/2"] == 15.0
    assert tools.staging.attempts == {}


def test_what_a_dead_process_left_is_removed_first() -> None:
    tools = make_tools()
    left = scored_of(tools, plan_of(tools))
    tools.staging.kill(left.attempt)
    run(tools, DAY)
    assert tools.staging.attempts == {}
