"""Validating, on fakes."""

from __future__ import annotations

import pytest
from fakes import make_tools
from fakes.stage_calls import check_of, plan_of

from batchdeploy.core.records import (
    CheckReport,
    ExpectationResult,
)
from batchdeploy.errors import (
    ValidationRefused,
)
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
