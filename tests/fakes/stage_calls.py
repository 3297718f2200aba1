"""Calls each stage with the fakes of a toolbox; the only place with the stages' arguments in tests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from batchdeploy.core.records import CheckReport, DriftReport, Manifest, Plan, ScoredBatch
from batchdeploy.stages.measure_drift import measure_drift
from batchdeploy.stages.publish import publish
from batchdeploy.stages.resolve import resolve
from batchdeploy.stages.score import score
from batchdeploy.stages.validate import validate
from fakes.toolbox import DAYS, FakeToolbox

DAY = DAYS[0]
NOW = datetime(2024, 1, 2, tzinfo=UTC)


def plan_of(tools: FakeToolbox, day: str = DAY, **options: Any) -> Plan:
    """The plan of a day."""
    return resolve(tools.deployment, day, tools.to_resolve(), now=NOW.isoformat(), **options)


def check_of(tools: FakeToolbox, plan: Plan) -> CheckReport:
    """The check report of a plan."""
    return validate(
        plan,
        texts=tools.texts,
        reader=tools.reader,
        validator=tools.validator,
        now=NOW.isoformat(),
    )


def scored_of(tools: FakeToolbox, plan: Plan, done: Callable[[int], None] = lambda rows: None) -> ScoredBatch:
    """The plan's scores in staging."""
    return score(plan, tools.to_score(), now=NOW, done=done)


def drift_of(tools: FakeToolbox, plan: Plan, scored: ScoredBatch) -> DriftReport:
    """The drift of a scored batch."""
    return measure_drift(plan, scored, references=tools.references)


def published_of(tools: FakeToolbox, plan: Plan, scored: ScoredBatch) -> Manifest:
    """The manifest of scores that were published."""
    check = check_of(tools, plan)
    drift = drift_of(tools, plan, scored)
    return publish(
        tools.publishing.publisher,
        plan,
        records=(check, scored, drift),
        versions=tools.versions,
        clock=lambda: NOW,
    )


def scores(tools: FakeToolbox, day: str = DAY) -> dict[str, float]:
    """The published scores of a day, by key."""
    table = pa.concat_tables(tools.table.visible(f"date={day}").values())
    return dict(zip(table["id"].to_pylist(), table["y"].to_pylist(), strict=True))
