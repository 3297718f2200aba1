"""Validating, on fakes."""

from __future__ import annotations

import json

import pytest
from fakes import FakeToolbox, make_tools
from fakes.stage_calls import check_of, plan_of

from batchdeploy.core.records import (
    CheckReport,
    ExpectationResult,
)
from batchdeploy.errors import DataError, ValidationRefused
from batchdeploy.stages.validate import gate_validation

pytestmark = pytest.mark.usefixtures("no_files")


def test_without_a_suite_there_is_nothing_to_find() -> None:
    tools = make_tools()
    plan = plan_of(tools)
    report = check_of(tools, plan)
    assert (report.rows, report.results) == (6, ())
    gate_validation(plan, report)
    assert tools.validator.checked == []


@pytest.mark.parametrize(("level", "passes"), [("warn", True), ("block", False)])
def test_only_an_expectation_that_blocks_refuses(level: str, passes: bool) -> None:
    plan = plan_of(make_tools())
    result = ExpectationResult(
        expectation="expect_column_values_to_not_be_null",
        column="x",
        arguments="",
        level=level,  # type: ignore[arg-type]
        success=False,
        evaluated=6,
        unexpected=2,
    )
    report = CheckReport(run_id=plan.run_id, started_at="", rows=6, results=(result,))
    if passes:
        gate_validation(plan, report)
    else:
        with pytest.raises(ValidationRefused, match=r"x: expect_column_values_to_not_be_null.*2 of 6"):
            gate_validation(plan, report)


SUITE = {
    "name": "positive",
    "expectations": [
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "x", "min_value": 1}},
    ],
}


def tools_with_a_suite() -> FakeToolbox:
    tools = make_tools(expectations="suite.json")
    tools.texts.texts["suite.json"] = json.dumps(SUITE)
    return tools


def test_a_suite_looks_at_its_columns_only() -> None:
    tools = tools_with_a_suite()
    report = check_of(tools, plan_of(tools))
    assert [(result.column, result.unexpected, result.level) for result in report.results] == [
        ("x", 1, "block")
    ]
    assert tools.validator.checked == [("x", "date")]


def test_a_suite_that_changed_since_it_was_planned_is_refused() -> None:
    tools = tools_with_a_suite()
    plan = plan_of(tools)
    tools.texts.texts["suite.json"] += " "
    with pytest.raises(DataError, match="changed since it was planned"):
        check_of(tools, plan)
    assert tools.validator.checked == []


def test_a_suite_that_is_missing_or_unsound_cannot_be_planned() -> None:
    tools = tools_with_a_suite()
    tools.texts.texts["suite.json"] = json.dumps({"name": "empty", "expectations": []})
    with pytest.raises(DataError, match="an empty suite passes everything"):
        plan_of(tools)
    tools.texts.texts.clear()
    with pytest.raises(DataError, match=r"suite\.json"):
        plan_of(tools)
