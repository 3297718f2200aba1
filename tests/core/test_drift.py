from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeploy.core.deployment import DriftSpec
from batchdeploy.core.drift import adjust, calibrate, judge, psi
from batchdeploy.core.profiles import ColumnProfile, Reference, ReferenceColumn
from batchdeploy.kernel.profiling import count, empty, make_bins, merge

SPEC = DriftSpec(reference="r", false_alarm_rate=0.01)
vectors = st.lists(st.integers(0, 10**6), min_size=4, max_size=4)


@given(vectors, st.integers(1, 50))
def test_equal_shares_are_at_no_distance(counts: list[int], times: int) -> None:
    assert psi(counts, [times * n for n in counts])[0] == pytest.approx(0, abs=1e-12)


@given(vectors, vectors)
def test_a_distance_is_symmetric_and_not_negative(one: list[int], other: list[int]) -> None:
    assert psi(one, other)[0] >= -1e-12
    assert psi(one, other)[0] == pytest.approx(psi(other, one)[0], rel=1e-9, abs=1e-12)


profiles = vectors.map(
    lambda n: ColumnProfile(
        name="x", role="feature", kind="numeric", edges=(0.0, 1.0), counts=tuple(n[:3]), nulls=n[3]
    )
)


@given(profiles, profiles, profiles)
def test_merging_is_associative_and_commutative(a: ColumnProfile, b: ColumnProfile, c: ColumnProfile) -> None:
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, b) == merge(b, a)
    assert merge(a, empty(a)) == a


def test_profiles_of_other_bins_do_not_merge() -> None:
    one = ColumnProfile(name="x", role="feature", kind="numeric", edges=(0.0,), counts=(1, 1))
    other = ColumnProfile(name="x", role="feature", kind="numeric", edges=(1.0,), counts=(1, 1))
    with pytest.raises(ValueError, match="different bins"):
        merge(one, other)


values = st.lists(st.one_of(st.none(), st.floats(), st.integers(-5, 5).map(float)), max_size=60)


@given(values, values)
def test_every_value_is_counted_once(seen: list[float | None], later: list[float | None]) -> None:
    bins = make_bins("x", "feature", pa.array(seen, pa.float64()))
    assert all(low < high for low, high in pairwise(bins.edges))
    assert count(bins, pa.array(later, pa.float64())).rows == len(later)
    inside = count(bins, pa.array(seen, pa.float64()))
    if bins.edges and not any(v is not None and abs(v) > 1e308 for v in seen):
        assert inside.counts[0] == inside.counts[-1] == 0


def test_bins_split_evenly_and_leave_room_beyond_both_ends() -> None:
    bins = make_bins("x", "feature", pa.array(np.arange(1_000.0)))
    counted = count(bins, pa.array(np.arange(1_000.0)))
    assert len(bins.counts) == 12
    assert counted.counts == (0, *[100] * 10, 0)
    assert count(bins, pa.array([-1e9, 1e9])).counts == (1, *[0] * 10, 1)


def test_categories_keep_the_frequent_the_rare_and_the_unseen_apart() -> None:
    names = [f"c{n:02d}" for n in range(30) for _ in range(40 - n)]
    bins = make_bins("x", "feature", pa.array(names))
    counted = count(bins, pa.array(["c00", "c29", "new", None]))
    assert counted.categories[0] == "c00"
    assert (counted.counts[0], counted.counts[-1], counted.unseen, counted.nulls) == (1, 1, 1, 1)


def test_booleans_are_categories() -> None:
    bins = make_bins("x", "feature", pa.array([True, False, True, None]))
    assert bins.categories == ("true", "false")
    assert count(bins, pa.array([False, None])).counts == (0, 1, 0)


def column(random: np.random.Generator, name: str, *, days: int, rows: int, day_sd: float) -> ReferenceColumn:
    """A reference of days whose level moves from day to day by ``day_sd``."""
    parts = [random.normal(random.normal(0, day_sd), 1, rows) for _ in range(days)]
    bins = make_bins(name, "feature", pa.array(np.concatenate(parts)))
    counted = [count(bins, pa.array(part)) for part in parts]
    return calibrate(count(bins, pa.array(np.concatenate(parts))), counted)


@pytest.mark.slow
@pytest.mark.parametrize("day_sd", [0.0, 0.15, 0.5])
@pytest.mark.parametrize(("days", "rows"), [(30, 125), (30, 500), (30, 5_000), (7, 500), (2, 500)])
def test_quiet_days_rarely_alarm_however_days_differ_and_however_large_they_are(
    day_sd: float, days: int, rows: int
) -> None:
    """The reference's days have 500 rows; the days judged have fewer, as many, or ten times as many."""
    random = np.random.default_rng(5)
    alarms = 0
    for _ in range(2):
        columns = tuple(column(random, f"c{n}", days=days, rows=500, day_sd=day_sd) for n in range(10))
        reference = Reference(description="", columns=columns)
        for _ in range(50):
            day = [
                count(c.profile, pa.array(random.normal(random.normal(0, day_sd), 1, rows))) for c in columns
            ]
            alarms += judge(reference, day, SPEC, run_id="r").verdict == "drift"
    assert alarms <= 10


@pytest.mark.slow
def test_a_shift_larger_than_days_differ_is_found() -> None:
    random = np.random.default_rng(9)
    columns = tuple(column(random, f"c{n}", days=30, rows=500, day_sd=0.15) for n in range(10))
    reference = Reference(description="", columns=columns)
    found = 0
    for _ in range(20):
        day = [
            count(c.profile, pa.array(random.normal(random.normal(0, 0.15) + (n == 4), 1, 500)))
            for n, c in enumerate(columns)
        ]
        found += "c4" in judge(reference, day, SPEC, run_id="r").alarms
    assert found >= 18


def test_a_column_of_many_names_meets_new_ones_every_day_without_an_alarm() -> None:
    random = np.random.default_rng(10)
    parts = [pa.array([f"n{int(x)}" for x in random.zipf(1.3, 300) % 10**7]) for _ in range(20)]
    bins = make_bins("name", "feature", pa.concat_arrays(parts))
    whole = count(bins, pa.concat_arrays(parts))
    reference = Reference(description="", columns=(calibrate(whole, [count(bins, p) for p in parts]),))
    alarms = 0
    for _ in range(40):
        day = count(bins, pa.array([f"n{int(x)}" for x in random.zipf(1.3, 300) % 10**7]))
        assert day.unseen > 0
        alarms += judge(reference, [day], SPEC, run_id="r").verdict == "drift"
    assert alarms <= 2


def test_a_fixed_limit_would_cry_wolf_where_this_does_not() -> None:
    random = np.random.default_rng(6)
    reference = column(random, "x", days=30, rows=200, day_sd=0.5)
    psis = []
    for _ in range(50):
        day = count(reference.profile, pa.array(random.normal(random.normal(0, 0.5), 1, 200)))
        psis.append(psi([*reference.profile.counts, 0, 0], [*day.counts, 0, 0])[0])
    assert np.mean(np.array(psis) > 0.1) > 0.5


def test_a_shift_of_one_column_in_ten_is_found_and_named() -> None:
    random = np.random.default_rng(7)
    columns = tuple(column(random, f"c{n}", days=30, rows=2_000, day_sd=0.0) for n in range(10))
    reference = Reference(description="", columns=columns)
    day = [
        count(c.profile, pa.array(random.normal(0.3 if n == 4 else 0, 1, 2_000)))
        for n, c in enumerate(columns)
    ]
    report = judge(reference, day, SPEC, run_id="r")
    assert report.verdict == "drift"
    assert report.alarms == ("c4",)
    row = next(row for row in report.statistics if row.alarm)
    assert row.limit is not None
    assert row.value >= row.limit


def test_certain_but_tiny_shifts_do_not_alarm() -> None:
    random = np.random.default_rng(8)
    reference = Reference(description="", columns=(column(random, "x", days=1, rows=1_000_000, day_sd=0.0),))
    day = count(reference.columns[0].profile, pa.array(random.normal(0.02, 1, 1_000_000)))
    report = judge(reference, [day], SPEC, run_id="r")
    assert report.statistics[0].p_value is not None
    assert report.statistics[0].p_value < 1e-6
    assert report.verdict == "quiet"


def test_nulls_and_unseen_categories_are_reported_and_alarm() -> None:
    bins = make_bins("city", "feature", pa.array(["a", "b"] * 500))
    whole = count(bins, pa.array(["a", "b"] * 500))
    reference = Reference(description="", columns=(calibrate(whole, []),))
    report = judge(reference, [count(bins, pa.array(["a", "new", None, "b"] * 100))], SPEC, run_id="r")
    shares = {row.statistic: row.value for row in report.statistics}
    assert (shares["null_share"], shares["unseen_share"]) == (0.25, 0.25)
    assert report.verdict == "drift"


def test_adjusts_as_benjamini_and_hochberg_did() -> None:
    assert adjust([0.01, 0.02, 0.03, 0.5]) == pytest.approx([0.04, 0.04, 0.04, 0.5])
    assert adjust([]) == []


def test_no_rows_are_no_drift() -> None:
    bins = make_bins("x", "feature", pa.array([1.0, 2.0, 3.0]))
    reference = Reference(description="", columns=(calibrate(count(bins, pa.array([1.0, 2.0, 3.0])), []),))
    assert judge(reference, [bins], SPEC, run_id="r").verdict == "quiet"
