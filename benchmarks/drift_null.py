"""Simulated partitions without drift: how often the verdict alarms, and how often it finds a shift.

A column has 300 equally likely values, so that a day of 200,000 rows is one draw of 300 counts. On a day, the
whole column moves by a normal step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import stats

from batchdeploy.core.deployment import DriftSpec
from batchdeploy.core.drift import judge_calibrated
from batchdeploy.core.drift_calibration import Calibration, calibrate
from batchdeploy.core.profiles import ColumnProfile, Reference
from batchdeploy.kernel.profiling import FIXED_POINT, LIMIT, empty
from batchdeploy.kernel.reference_column import column_of_partitions

Array = np.ndarray[Any, np.dtype[np.float64]]

VALUES = 300
AT = (np.arange(VALUES) + 0.5) / VALUES
KINDS: dict[str, Array] = {
    "normal": stats.norm.ppf(AT),
    "skewed": np.exp(stats.norm.ppf(AT)),
    "heavy-tailed": stats.t(2.5).ppf(AT),
    "categorical": stats.norm.ppf(AT),
}
KINDS = {kind: values / values.std() for kind, values in KINDS.items()}
# Eleven categories of 35% down to half a percent; a value between two cuts belongs to one.
CUTS = stats.norm.ppf(np.cumsum([0.35, 0.2, 0.15, 0.1, 0.08, 0.05, 0.03, 0.02, 0.01, 0.005]))
COLUMNS, REFERENCE_ROWS, SHIFTED, SHIFT = 50, 1_000, 3, 0.3
NULLS = (0.0, 0.0, 0.01, 0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of the table.

    Attributes:
        day_sd: how far the level moves from day to day, in standard deviations of the values; in a mixed
            table each column's by 0, 0.5, 1 or 1.5 times this.
        days: partitions in the reference.
        rows: of each day that is judged.
    """

    kind: str
    day_sd: float
    days: int
    rows: int


class Columns:
    """Fifty made-up columns, with nulls in some."""

    def __init__(self, random: np.random.Generator, kind: str, day_sd: float) -> None:
        mixed = kind == "mixed"
        self.kinds = [list(KINDS)[n % len(KINDS)] if mixed else kind for n in range(COLUMNS)]
        self.moves = day_sd * (random.choice([0, 0.5, 1, 1.5], COLUMNS) if mixed else np.ones(COLUMNS))
        self.nulls = random.choice(NULLS, COLUMNS)
        self._random = random

    def draw(self, column: int, rows: int, *, shift: float = 0.0) -> tuple[Array, Any, int]:
        """The column's values on a day, how often each occurs, and the number of nulls."""
        nulls = int(self._random.binomial(rows, self.nulls[column]))
        level = self._random.normal(0, 1) * self.moves[column] + shift
        times = self._random.multinomial(rows - nulls, np.full(VALUES, 1 / VALUES))
        return KINDS[self.kinds[column]] + level, times, nulls

    def reference(self, days: int) -> Reference:
        """The reference of so many days of 1,000 rows."""
        columns = []
        for column, kind in enumerate(self.kinds):
            drawn = [self.draw(column, REFERENCE_ROWS) for _ in range(days)]
            parts = [expand(*one, categorical=kind == "categorical") for one in drawn]
            columns.append(column_of_partitions(f"c{column}", "feature", parts))
        return Reference(description="simulated", columns=tuple(columns))

    def day(self, profiles: Sequence[ColumnProfile], rows: int, *, shift: float = 0.0) -> list[ColumnProfile]:
        """The profiles of one day; ``shift`` moves one of the columns."""
        return [
            weighted_profile(profile, *self.draw(column, rows, shift=shift * (column == SHIFTED)))
            for column, profile in enumerate(profiles)
        ]


def category(values: Array) -> list[str]:
    """The category of each value."""
    return [f"k{place}" for place in np.searchsorted(CUTS, values)]


def expand(values: Array, times: Any, nulls: int, *, categorical: bool) -> pa.Array:
    """All rows of a day."""
    known = pa.array(category(values)) if categorical else pa.array(values)
    return pa.concat_arrays(
        [known.take(pa.array(np.repeat(np.arange(VALUES), times))), pa.nulls(nulls, known.type)]
    )


def weighted_profile(bins: ColumnProfile, values: Array, times: Any, nulls: int) -> ColumnProfile:
    """What `count` would give for values that occur so many times; a test compares them."""
    if bins.kind == "categorical":
        each = dict.fromkeys(bins.categories, 0) | {"rare": 0}
        unseen = 0
        for name, rows in zip(category(values), times.tolist(), strict=True):
            place = name if name in each else "rare" if name in bins.rare else None
            unseen += rows if place is None else 0
            if place is not None:
                each[place] += rows
        return replace(bins, counts=tuple(each.values()), nulls=nulls, unseen=unseen)
    counts = np.bincount(np.searchsorted(bins.edges, values), times, minlength=len(bins.counts))
    z = np.clip((values - bins.center) / bins.unit, -LIMIT, LIMIT)
    moments = tuple(round(float((times * z**power).sum()) * FIXED_POINT) for power in (1, 2, 3, 4))
    return replace(bins, counts=tuple(int(n) for n in counts), nulls=nulls, moments=moments)


def null_table(
    cells: Sequence[Cell], spec: DriftSpec, *, references: int, days: int, seed: int = 1
) -> Iterator[dict[str, object]]:
    """One row per cell: the share of days that alarm, and on which the shifted column is named.

    Args:
        cells: those of one kind, day_sd and number of days share their references.
        spec: the false alarm rate, and the floors.
        references: the number of simulated references.
        days: judged by each of them, for each cell.
        seed: of the random numbers.
    """
    shared = dict.fromkeys((cell.kind, cell.day_sd, cell.days) for cell in cells)
    for kind, day_sd, length in shared:
        random = np.random.default_rng(seed)
        ours = [cell for cell in cells if (cell.kind, cell.day_sd, cell.days) == (kind, day_sd, length)]
        alarms: dict[Cell, list[bool]] = {cell: [] for cell in ours}
        found: dict[Cell, list[bool]] = {cell: [] for cell in ours}
        for _ in range(references):
            columns = Columns(random, kind, day_sd)
            calibration = calibrate(columns.reference(length))
            assert calibration is not None
            for cell, _day in product(ours, range(days)):
                alarms[cell].append(bool(_alarms(columns, calibration, cell, spec)))
                if cell.rows == 2_000:
                    named = _alarms(columns, calibration, cell, spec, shift=SHIFT)
                    found[cell].append(f"c{SHIFTED}" in named)
        for cell in ours:
            yield {
                "kind": kind,
                "day_sd": day_sd,
                "reference_days": length,
                "rows": cell.rows,
                "days": len(alarms[cell]),
                "alarms": float(np.mean(alarms[cell])),
                "found": float(np.mean(found[cell])) if found[cell] else None,
            }


def _alarms(
    columns: Columns, calibration: Calibration, cell: Cell, spec: DriftSpec, *, shift: float = 0.0
) -> tuple[str, ...]:
    bins = [empty(profile) for profile in calibration.profiles]
    day = columns.day(bins, cell.rows, shift=shift)
    return judge_calibrated(calibration, day, spec, run_id="benchmark").alarms


def best_power(day_sd: float, rows: int, rate: float) -> float:
    """The power of the z-test that knows mean and variance, for one of 50 columns at Bonferroni's level."""
    deviation = np.sqrt(day_sd**2 + 1 / rows)
    critical = stats.norm.isf(rate / COLUMNS / 2)
    return float(stats.norm.sf(critical - SHIFT / deviation) + stats.norm.cdf(-critical - SHIFT / deviation))


def all_cells(
    kinds: Sequence[str] = (*KINDS, "mixed"),
    moves: Sequence[float] = (0.0, 0.15, 0.5),
    lengths: Sequence[int] = (14, 30, 90),
    rows: Sequence[int] = (200, 2_000, 200_000),
) -> list[Cell]:
    """Every combination."""
    return [
        Cell(kind=kind, day_sd=day_sd, days=days, rows=n)
        for kind, day_sd, days, n in product(kinds, moves, lengths, rows)
    ]


def summary(rows: list[dict[str, object]], rate: float) -> pd.DataFrame:
    """The table with the power that no test exceeds beside."""
    table = pd.DataFrame(rows)
    best = [
        best_power(sd, n, rate) if n == 2_000 else None
        for sd, n in zip(table["day_sd"], table["rows"], strict=True)
    ]
    return table.assign(best=best)
