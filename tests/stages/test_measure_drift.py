"""Measuring drift, on fakes."""

from __future__ import annotations

from dataclasses import replace

import pyarrow.compute as pc
import pytest
from fakes import FakeToolbox, make_tools, rows
from fakes.reference import reference_text
from fakes.stage_calls import DAY, drift_of, plan_of, scored_of

from batchdeploy.core.deployment import DriftSpec
from batchdeploy.core.records import (
    DriftReport,
    DriftStatistic,
)
from batchdeploy.errors import DataError, DriftRefused
from batchdeploy.stages.measure_drift import gate_drift

pytestmark = pytest.mark.usefixtures("no_files")


def test_without_a_reference_nothing_is_measured() -> None:
    tools = make_tools()
    plan = plan_of(tools)
    report = drift_of(tools, plan, scored_of(tools, plan))
    assert (report.verdict, report.notes) == ("not measured", ("the deployment names no drift.reference",))


@pytest.mark.parametrize(("on_alarm", "passes"), [("warn", True), ("block", False)])
def test_an_alarm_refuses_where_the_deployment_says_block(on_alarm: str, passes: bool) -> None:
    spec = DriftSpec(reference="reference.json", on_alarm=on_alarm)  # type: ignore[arg-type]
    plan = plan_of(make_tools())
    plan = replace(plan, deployment=replace(plan.deployment, drift=spec))
    row = DriftStatistic(
        column="x",
        role="feature",
        statistic="location",
        value=0.5,
        reference=0.1,
        low=0.0,
        high=0.2,
        p_value=0.0,
        q_value=0.0,
        alarm=True,
        rows=6,
    )
    report = DriftReport(run_id=plan.run_id, verdict="warning", statistics=(row,), profile=())
    if passes:
        gate_drift(plan, report)
    else:
        with pytest.raises(
            DriftRefused,
            match=r"x: `x` is 0.4 higher than in ordinary partitions \(mean 0.5, ordinarily 0 to 0.2\)",
        ):
            gate_drift(plan, report)


def tools_with_a_reference() -> FakeToolbox:
    tools = make_tools(drift=DriftSpec(reference="reference.json"))
    tools.texts.texts["reference.json"] = reference_text()
    tools.source.put("data", DAY, *rows(DAY, count=50))
    return tools


def test_a_day_like_the_reference_is_quiet_and_one_far_from_it_alarms() -> None:
    tools = tools_with_a_reference()
    plan = plan_of(tools)
    assert drift_of(tools, plan, scored_of(tools, plan)).verdict == "ok"
    far = (table.set_column(1, "x", pc.add(table["x"], 80.0)) for table in rows(DAY, count=50))
    tools.source.put("data", DAY, *far)
    plan = plan_of(tools)
    report = drift_of(tools, plan, scored_of(tools, plan))
    assert (report.verdict, sorted(report.alarms)) == ("critical", ["x", "y"])


def test_a_reference_that_changed_since_it_was_planned_is_refused() -> None:
    tools = tools_with_a_reference()
    plan = plan_of(tools)
    scored = scored_of(tools, plan)
    tools.texts.texts["reference.json"] += " "
    with pytest.raises(DataError, match="changed since it was planned"):
        drift_of(tools, plan, scored)
