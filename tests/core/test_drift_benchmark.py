"""The drift benchmark, run small: the verdict on real days with planted faults, and on simulated columns."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batchdeploy.core.deployment import DriftSpec
from batchdeploy.kernel.profiling import count, empty

SPEC = DriftSpec(reference="r")


@pytest.fixture(scope="module", autouse=True)
def importable() -> Any:
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    yield
    sys.path.remove(folder)


@pytest.mark.parametrize("kind", ["normal", "skewed", "heavy-tailed", "categorical"])
def test_weighted_values_are_counted_as_rows_are(kind: str) -> None:
    from drift_null import Columns, expand, weighted_profile

    columns = Columns(np.random.default_rng(1), kind, 0.5)
    for column, profile in enumerate(columns.reference(7).profiles[:5]):
        drawn = columns.draw(column, 300)
        counted = count(empty(profile), expand(*drawn, categorical=kind == "categorical"))
        weighted = weighted_profile(empty(profile), *drawn)
        assert weighted.counts == counted.counts
        assert (weighted.nulls, weighted.unseen) == (counted.nulls, counted.unseen)
        # Whole numbers that are rounded once for all rows.
        assert np.allclose(weighted.moments, counted.moments, atol=2, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["skewed", "mixed"])
def test_simulated_days_rarely_alarm_and_a_shift_is_found(kind: str) -> None:
    from drift_null import Cell, null_table

    cells = [Cell(kind=kind, day_sd=day_sd, days=30, rows=2_000) for day_sd in (0.0, 0.15)]
    still, moving = null_table(cells, SPEC, references=2, days=10)
    assert float(str(still["alarms"])) + float(str(moving["alarms"])) <= 2 / 20
    assert float(str(still["found"])) >= 0.95


@pytest.mark.slow
def test_planted_faults_are_found_on_ordinary_days_and_named() -> None:
    from drift_flights import FAULTS, fault_table, scored_days

    days = scored_days(last="2013-02-20")
    found = fault_table(days, SPEC).set_index("fault")
    assert found.loc["(none)", "alarm"] <= 2 / 18
    missed = {name for name in FAULTS if found.loc[name, "named"] < 0.95}
    # Both models say nearly the same of these days; pins tell them apart. An hour is a day's difference on
    # Saturdays, which this reference has four of.
    assert missed <= {"the challenger answers", "`sched_dep_minute` an hour off"}
