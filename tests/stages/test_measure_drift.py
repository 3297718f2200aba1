"""Measuring drift, on fakes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import make_tools
from fakes.stage_calls import drift_of, plan_of, scored_of

from batchdeploy.core.deployment import DriftSpec
from batchdeploy.core.records import (
    DriftReport,
    DriftStatistic,
)
from batchdeploy.errors import (
    DriftRefused,
)
from batchdeploy.stages.measure_drift import gate_drift

pytestmark = pytest.mark.usefixtures("no_files")


def test_without_a_reference_nothing_is_measured() -> None:
    tools = make_tools()
    plan = plan_of(tools)
    report = drift_of(tools, plan, scored_of(tools, plan))
    assert report.verdict == "unmeasured"


@pytest.mark.parametrize(("on_alarm", "passes"), [("warn", True), ("block", False)])
def test_an_alarm_refuses_where_the_deployment_says_block(on_alarm: str, passes: bool) -> None:
    spec = DriftSpec(reference="reference.json", on_alarm=on_alarm)  # type: ignore[arg-type]
    plan = plan_of(make_tools())
    plan = replace(plan, deployment=replace(plan.deployment, drift=spec))
    row = DriftStatistic(
        column="x",
        role="feature",
        statistic="psi",
        value=0.5,
        reference=0.0,
        limit=0.1,
        p_value=0.0,
        q_value=0.0,
        alarm=True,
        rows=6,
    )
    report = DriftReport(run_id=plan.run_id, verdict="drift", statistics=(row,), profile=())
    if passes:
        gate_drift(plan, report)
    else:
        with pytest.raises(DriftRefused, match=r"x: PSI above its limit 0.100, got 0.500"):
            gate_drift(plan, report)
