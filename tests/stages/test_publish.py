"""Publishing, on fakes: the fence decides."""

from __future__ import annotations

import pytest
from fakes import make_tools
from fakes.stage_calls import DAY, plan_of, published_of, scored_of, scores

from batchdeploy.core.layout import run_key
from batchdeploy.core.records import (
    Manifest,
)
from batchdeploy.errors import (
    StaleRunError,
)

pytestmark = pytest.mark.usefixtures("no_files")


def test_scores_become_visible_with_their_manifest() -> None:
    tools = make_tools()
    plan = plan_of(tools)
    scored = scored_of(tools, plan)
    manifest = published_of(tools, plan, scored)
    assert scores(tools) == {f"{DAY}/{f}/{i}": 2.0 * (3 * f + i) for f in range(2) for i in range(3)}
    assert (manifest.run_id, manifest.rows_scored, manifest.keys) == (plan.run_id, 6, scored.keys_in)
    assert manifest == tools.records.read(run_key(plan.folder, plan.run_id), Manifest)
    assert tools.staging.attempts == {}
    assert plan_of(tools).state == "identical"


def test_a_run_that_was_overtaken_is_stale() -> None:
    tools = make_tools()
    plan = plan_of(tools)
    scored = scored_of(tools, plan)

    def overtake() -> None:
        tools.table.before_fence = lambda: None
        tools.registry.move_alias("doubles", "champion", seen=1, version=2)
        other = plan_of(tools)
        published_of(tools, other, scored_of(tools, other))

    tools.table.before_fence = overtake
    with pytest.raises(StaleRunError, match="nothing was published"):
        published_of(tools, plan, scored)
    assert scores(tools)[f"{DAY}/1/2"] == 15.0


def test_a_run_with_the_same_pins_that_came_first_is_the_answer() -> None:
    tools = make_tools()
    plan = plan_of(tools)
    late = scored_of(tools, plan)
    first = published_of(tools, plan, scored_of(tools, plan))
    assert published_of(tools, plan, late) == first
    assert [action for action, *_ in tools.table.audit] == ["publish"]
