"""Scoring, on fakes: every row is scored or quarantined once, or the run fails."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest
from fakes import make_tools, rows
from fakes.stage_calls import DAY, plan_of, scored_of

from batchdeploy.core.deployment import EngineSpec, QuarantineSpec
from batchdeploy.core.policy import PolicySpec
from batchdeploy.core.predicates import Predicate
from batchdeploy.errors import (
    DataError,
    EngineError,
    MissingPackageError,
    RequestError,
    ScoringRefused,
)
from batchdeploy.stages.score import gate_quarantine

pytestmark = pytest.mark.usefixtures("no_files")


def test_every_row_is_in_staging_and_none_is_visible() -> None:
    tools = make_tools()
    told: list[int] = []
    scored = scored_of(tools, plan_of(tools), told.append)
    assert (scored.rows_in, scored.rows_scored, scored.rows_quarantined) == (6, 6, 0)
    assert scored.keys_in == scored.keys_out
    assert told == [3, 3]
    assert sorted(tools.staging.staged("", scored)["y"]) == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    assert tools.table.published_partitions() == ()
    assert len(tools.engine.shipped) == 1


def test_a_lost_split_is_found_out() -> None:
    tools = make_tools()
    tools.engine.loses = {1}
    with pytest.raises(EngineError, match="rows read: the footers have 6, got 3"):
        scored_of(tools, plan_of(tools))
    assert tools.staging.attempts == {}


def test_rows_that_changed_meanwhile_are_found_out() -> None:
    tools = make_tools()
    plan = plan_of(tools)
    tools.source.put("data", DAY, *rows(DAY, count=4))
    with pytest.raises(DataError, match="changed since it was planned"):
        scored_of(tools, plan)
    assert tools.staging.attempts == {}


def test_an_engine_that_fails_leaves_no_staging() -> None:
    tools = make_tools()
    tools.engine.failure = EngineError("Spark", "did not start")
    with pytest.raises(EngineError, match="did not start"):
        scored_of(tools, plan_of(tools))
    assert tools.staging.attempts == {}


def test_workers_that_lack_something_are_refused_before_any_row() -> None:
    tools = make_tools()
    tools.engine.lacks = {"pyarrow"}
    with pytest.raises(MissingPackageError, match="lacks pyarrow"):
        scored_of(tools, plan_of(tools))
    tools.engine.lacks = ()
    tools.engine.installed = {"python": "3.9.1"}
    with pytest.raises(RequestError, match="has another python"):
        scored_of(tools, plan_of(tools))
    tools.deployment = replace(tools.deployment, engine=EngineSpec(versions="warn"))
    assert scored_of(tools, plan_of(tools)).rows_scored == 6


def test_rows_excluded_by_where_are_counted() -> None:
    tools = make_tools()
    tools.deployment = replace(
        tools.deployment,
        data=replace(tools.deployment.data, where=(Predicate(column="x", op="ge", value=4),)),
    )
    scored = scored_of(tools, plan_of(tools))
    assert (scored.rows_in, scored.rows_left_out) == (2, 4)


def test_duplicate_keys_across_files_are_quarantined() -> None:
    tools = make_tools()
    first, second = rows(DAY)
    doubled = second.set_column(0, "id", pa.array([f"{DAY}/0/0", "b", "c"]))
    tools.source.put("data", DAY, first, doubled)
    scored = scored_of(tools, plan_of(tools))
    assert (scored.rows_scored, scored.rows_quarantined) == (4, 2)
    (found,) = scored.quarantined
    assert (found.stage, found.rows) == ("input", 2)
    assert "id" in found.reason


@pytest.mark.parametrize(("share", "passes"), [(0.5, True), (0.1, False)])
def test_the_gate_allows_a_share(share: float, passes: bool) -> None:
    tools = make_tools(quarantine=QuarantineSpec(max_share=share))
    first, second = rows(DAY)
    tools.source.put("data", DAY, first, second.set_column(0, "id", pa.array([None, "b", "c"])))
    plan = plan_of(tools)
    scored = scored_of(tools, plan)
    assert scored.rows_quarantined == 1
    if passes:
        gate_quarantine(plan, scored)
    else:
        with pytest.raises(ScoringRefused, match=r"1 of 6 rows quarantined"):
            gate_quarantine(plan, scored)


def test_a_rule_that_fails_refuses_a_single_row() -> None:
    tools = make_tools(
        quarantine=QuarantineSpec(max_share=1), policy=PolicySpec(ranges={"x": (0, 4)}, out_of_range="fail")
    )
    plan = plan_of(tools)
    with pytest.raises(ScoringRefused, match="1 of 6 rows"):
        gate_quarantine(plan, scored_of(tools, plan))
