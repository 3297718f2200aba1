"""Comparing two models and promoting one, on fakes."""

from __future__ import annotations

import json
import re

import pytest
from fakes import FakeModel, FakeToolbox, make_tools
from fakes.stage_calls import DAY
from fakes.toolbox import triples

from batchdeploy.core.deployment import ModelRef
from batchdeploy.core.request import Decision
from batchdeploy.errors import PartitionError, PromotionRefused, RequestError
from batchdeploy.workflows.compare_models import compare_models, render_markdown
from batchdeploy.workflows.promote import promote

pytestmark = pytest.mark.usefixtures("no_files")

APPROVED = Decision(approved=True, by="grace")
REJECTED = Decision(approved=False, by="ada")


def champion(tools: FakeToolbox) -> int:
    return tools.registry.resolve(ModelRef(name="doubles")).version


def test_both_models_are_compared_and_nothing_is_published() -> None:
    tools = make_tools()
    comparison, _ = compare_models(tools, DAY, "challenger")
    assert (comparison.champion, comparison.challenger, comparison.rows) == (1, 2, 6)
    (output,) = comparison.outputs
    assert (output.champion_mean, output.challenger_mean, output.max_difference) == (5.0, 7.5, 5.0)
    assert "version 1 (champion) against version 2" in render_markdown(comparison)
    assert tools.table.published_partitions() == ()
    assert tools.staging.attempts == {}


@pytest.mark.parametrize("ref", ["challenger", "@challenger", "doubles@challenger", "2"])
def test_a_challenger_is_named_by_alias_or_by_version(ref: str) -> None:
    comparison, _ = compare_models(make_tools(), DAY, ref)
    assert comparison.challenger == 2


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("triples@challenger", "model: the deployment scores with doubles, got triples"),
        ("doubles@", "model: names no alias, got 'doubles@'"),
        ("", "model: names no alias, got ''"),
        ("1", "1: is version 1, which champion is already"),
        ("@nobody", "no such model, version or alias: alias nobody"),
    ],
)
def test_a_challenger_that_is_none_is_refused(ref: str, message: str) -> None:
    tools = make_tools()
    with pytest.raises(RequestError, match=re.escape(message)):
        compare_models(tools, DAY, ref)
    assert tools.staging.attempts == {}


def test_a_partition_in_another_notation_is_refused() -> None:
    with pytest.raises(PartitionError, match="got 2024-1-1"):
        compare_models(make_tools(), "2024-1-1", "challenger")


def test_an_approved_challenger_becomes_champion() -> None:
    tools = make_tools()
    _, place = compare_models(tools, DAY, "challenger")
    assert promote(tools, place, APPROVED).challenger == 2
    assert champion(tools) == 2
    (line,) = decisions(tools)
    assert (line["decided_by"], line["approved"], line["from"], line["to"]) == ("grace", True, 1, 2)


def test_a_rejected_challenger_stays_one_and_that_is_kept() -> None:
    tools = make_tools()
    _, place = compare_models(tools, DAY, "challenger")
    with pytest.raises(PromotionRefused, match="version 2: was rejected by ada: champion stays at version 1"):
        promote(tools, place, REJECTED)
    assert champion(tools) == 1
    assert [line["approved"] for line in decisions(tools)] == [False]


def test_an_alias_that_moved_meanwhile_stays_where_it_is() -> None:
    tools = make_tools()
    _, place = compare_models(tools, DAY, "challenger")
    third = FakeModel(
        predict=triples,
        inputs=tools.registry.resolve(ModelRef(name="doubles")).inputs,
        outputs=tools.registry.resolve(ModelRef(name="doubles")).outputs,
        content="another",
    )
    tools.registry.register("doubles", third, "champion")
    with pytest.raises(RequestError, match="was at version 1 when it was compared, got 3"):
        promote(tools, place, APPROVED)
    assert champion(tools) == 3
    assert decisions(tools) == []


def decisions(tools: FakeToolbox) -> list[dict[str, object]]:
    """What was decided, as the control folder keeps it."""
    found = tools.storage.read("promotions.jsonl")
    return [] if found is None else [json.loads(line) for line in found.content.decode().splitlines()]
