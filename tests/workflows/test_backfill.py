"""Backfilling a range, on fakes: a refused partition does not stop it, a failure outside does."""

from __future__ import annotations

import pyarrow as pa
import pytest
from fakes import DAYS, FakeToolbox, make_tools, rows
from fakes.stage_calls import scores

from batchdeploy.core.deployment import QuarantineSpec
from batchdeploy.errors import (
    BackfillRefused,
    BatchdeployError,
    EngineError,
    PartitionError,
    ScoringRefused,
)
from batchdeploy.workflows.backfill import NoWatcher, backfill
from batchdeploy.workflows.run import Outcome

pytestmark = pytest.mark.usefixtures("no_files")

ALL = (DAYS[0], DAYS[2])


def tools_with_a_bad_day() -> FakeToolbox:
    """A toolbox whose second day has a row without a key, which the gate refuses."""
    tools = make_tools(quarantine=QuarantineSpec(max_share=0.1))
    first, second = rows(DAYS[1])
    tools.source.put("data", DAYS[1], first, second.set_column(0, "id", pa.array([None, "b", "c"])))
    return tools


class Breaking(NoWatcher):
    """Lets the engine fail once a partition has ended."""

    def __init__(self, tools: FakeToolbox) -> None:
        self._tools = tools

    def end(self, outcome: Outcome | BatchdeployError) -> None:
        self._tools.engine.failure = EngineError("Spark", "was lost")


def test_every_partition_is_published_and_identical_the_second_time() -> None:
    tools = make_tools()
    result = backfill(tools, ALL)
    assert [outcome.status for outcome in result.outcomes] == ["published"] * 3
    assert result.error is None
    assert tools.table.published_partitions() == tuple(f"date={day}" for day in DAYS)
    assert [outcome.status for outcome in backfill(tools, ALL).outcomes] == ["identical"] * 3
    assert len(tools.maintenance.recovered_at) == 2


def test_a_refused_partition_does_not_stop_the_others() -> None:
    tools = tools_with_a_bad_day()
    result = backfill(tools, ALL)
    assert tools.table.published_partitions() == (f"date={DAYS[0]}", f"date={DAYS[2]}")
    ((day, failure),) = result.failures
    assert day == DAYS[1]
    assert isinstance(failure, ScoringRefused)
    error = result.error
    assert isinstance(error, BackfillRefused)
    assert error.exit_code == 1
    assert set(error.refusals) == {DAYS[1]}
    assert error.runs == result.outcomes


def test_a_failure_outside_is_the_last_and_the_rest_follows_later() -> None:
    tools = make_tools()
    result = backfill(tools, ALL, watcher=Breaking(tools))
    assert [outcome.manifest.partition for outcome in result.outcomes] == [DAYS[0]]
    assert [day for day, _ in result.failures] == [DAYS[1]]
    assert isinstance(result.error, EngineError)
    assert tools.table.published_partitions() == (f"date={DAYS[0]}",)
    tools.engine.failure = None
    again = backfill(tools, ALL)
    assert [outcome.status for outcome in again.outcomes] == ["identical", "published", "published"]


def test_a_failure_outside_outweighs_a_refusal() -> None:
    tools = tools_with_a_bad_day()

    class After(Breaking):
        def end(self, outcome: Outcome | BatchdeployError) -> None:
            if isinstance(outcome, BatchdeployError):
                super().end(outcome)

    result = backfill(tools, ALL, watcher=After(tools))
    assert [day for day, _ in result.failures] == [DAYS[1], DAYS[2]]
    assert isinstance(result.error, EngineError)


def test_a_missing_day_is_refused_before_anything_or_skipped() -> None:
    tools = make_tools()
    tools.source.remove("data", DAYS[1])
    with pytest.raises(PartitionError, match="has no rows"):
        backfill(tools, ALL)
    assert tools.table.published_partitions() == ()
    result = backfill(tools, ALL, on_missing="skip")
    assert (len(result.outcomes), result.missing) == (2, (DAYS[1],))


def test_the_model_is_pinned_once_for_the_whole_range() -> None:
    tools = make_tools()

    class Moving(NoWatcher):
        def end(self, outcome: Outcome | BatchdeployError) -> None:
            tools.registry.move_alias("doubles", "champion", seen=1, version=2)

    result = backfill(tools, ALL, watcher=Moving())
    assert {outcome.manifest.model_version for outcome in result.outcomes} == {1}
    assert scores(tools, DAYS[2])[f"{DAYS[2]}/1/2"] == 10.0
