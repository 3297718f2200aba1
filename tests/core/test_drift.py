from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from batchdeploy.core import drift_variation
from batchdeploy.core.deployment import DriftSpec
from batchdeploy.core.drift import adjust, in_units, judge, psi
from batchdeploy.core.drift_calibration import MIN_PARTITIONS
from batchdeploy.core.drift_sentences import describe, headline
from batchdeploy.core.drift_statistics import current_table, statistics_of
from batchdeploy.core.drift_variation import upper_tail
from batchdeploy.core.profiles import ColumnProfile, Reference, ReferenceColumn
from batchdeploy.core.records import DriftReport
from batchdeploy.kernel.profiling import count, empty, make_bins, merge
from batchdeploy.kernel.reference_column import column_of_partitions

SPEC = DriftSpec(reference="r", false_alarm_rate=0.01)
vectors = st.lists(st.integers(0, 10**6), min_size=4, max_size=4)


@given(vectors, st.integers(1, 50))
def test_equal_shares_are_at_no_distance(counts: list[int], times: int) -> None:
    assert psi(counts, [times * n for n in counts])[0] == pytest.approx(0, abs=1e-12)


@given(vectors, vectors)
def test_a_distance_is_symmetric_and_not_negative(one: list[int], other: list[int]) -> None:
    assert psi(one, other)[0] >= -1e-12
    assert psi(one, other)[0] == pytest.approx(psi(other, one)[0], rel=1e-9, abs=1e-12)


profiles = st.tuples(vectors, st.lists(st.integers(-(2**40), 2**40), min_size=4, max_size=4)).map(
    lambda n: ColumnProfile(
        name="x",
        role="feature",
        kind="numeric",
        edges=(0.0, 1.0),
        counts=tuple(n[0][:3]),
        nulls=n[0][3],
        moments=tuple(n[1]),
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
    # Fewer than 200 values have no 0.5% beyond either end.
    if bins.edges and not any(v is not None and abs(v) > 1e308 for v in seen):
        assert inside.counts[0] == inside.counts[-1] == 0


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=60), values)
def test_moments_are_those_of_limited_values(seen: list[float], later: list[float | None]) -> None:
    bins = make_bins("x", "feature", pa.array(seen))
    counted = count(bins, pa.array(later, pa.float64()))
    known = np.array([value for value in later if value is not None and value == value], dtype=float)
    with np.errstate(over="ignore"):
        z = np.clip((known - bins.center) / bins.unit, -10, 10)
    expected = [float((z**power).sum()) for power in (1, 2, 3, 4)]
    assert np.array(counted.moments) / 2**24 == pytest.approx(expected, rel=1e-9, abs=1e-4)


def test_bins_split_evenly_and_leave_room_beyond_both_ends() -> None:
    bins = make_bins("x", "feature", pa.array(np.arange(1_000.0)))
    counted = count(bins, pa.array(np.arange(1_000.0)))
    assert len(bins.counts) == 12
    assert counted.counts == (4, 96, *[100] * 8, 96, 4)
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


Day = list[pa.Array]


def normal_day(random: np.random.Generator, *, columns: int, rows: int, day_sd: float) -> Day:
    """Columns whose level moves from day to day by ``day_sd`` standard deviations."""
    return [pa.array(random.normal(random.normal(0, day_sd), 1, rows)) for _ in range(columns)]


def reference_of(days: list[Day]) -> Reference:
    columns = tuple(
        column_of_partitions(f"c{n}", "feature", list(parts))
        for n, parts in enumerate(zip(*days, strict=True))
    )
    return Reference(description="", columns=columns)


def judged(reference: Reference, day: Day, spec: DriftSpec = SPEC) -> DriftReport:
    profiles = [count(empty(p), values) for p, values in zip(reference.profiles, day, strict=True)]
    return judge(reference, profiles, spec, run_id="r")


@pytest.mark.slow
@pytest.mark.parametrize("day_sd", [0.0, 0.15, 0.5])
@pytest.mark.parametrize(("days", "rows"), [(30, 125), (30, 500), (30, 5_000), (7, 500)])
def test_quiet_days_rarely_alarm_however_days_differ_and_however_large_they_are(
    day_sd: float, days: int, rows: int
) -> None:
    """The reference's days have 500 rows; the days judged have fewer, as many, or ten times as many."""
    random = np.random.default_rng(5)
    alarms = 0
    for _ in range(2):
        quiet = [normal_day(random, columns=10, rows=500, day_sd=day_sd) for _ in range(days)]
        reference = reference_of(quiet)
        for _ in range(50):
            day = normal_day(random, columns=10, rows=rows, day_sd=day_sd)
            alarms += bool(judged(reference, day).alarms)
    assert alarms <= 5


@pytest.mark.slow
def test_a_shift_larger_than_days_differ_is_found() -> None:
    random = np.random.default_rng(9)
    quiet = [normal_day(random, columns=10, rows=500, day_sd=0.15) for _ in range(30)]
    reference, found = reference_of(quiet), 0
    for _ in range(20):
        day = normal_day(random, columns=10, rows=500, day_sd=0.15)
        day[4] = pa.array(random.normal(random.normal(0, 0.15) + 1.5, 1, 500))
        found += "c4" in judged(reference, day).alarms
    assert found >= 18


def test_the_fit_is_the_same_however_much_is_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(16)
    reference = reference_of([normal_day(random, columns=3, rows=100, day_sd=0.3) for _ in range(9)])
    today = normal_day(random, columns=3, rows=100, day_sd=0.3)
    whole = judged(reference, today)
    monkeypatch.setattr(drift_variation, "AT_ONCE", 1_000)
    assert judged(reference, today) == whole


def test_columns_lend_each_other_their_variation() -> None:
    """Alone, a column of eight days cannot tell 0.3 sd from an ordinary day; among steady ones it can."""
    random = np.random.default_rng(11)
    quiet = [normal_day(random, columns=30, rows=1_000, day_sd=0.0) for _ in range(8)]
    day = normal_day(random, columns=30, rows=1_000, day_sd=0.0)
    day[4] = pa.array(random.normal(0.3, 1, 1_000))
    assert judged(reference_of(quiet), day).alarms == ("c4",)
    alone = judged(reference_of([one[4:5] for one in quiet]), day[4:5])
    p_alone, p_among = (
        next(row.p_value for row in report.statistics if row.column == name and row.statistic == "location")
        for report, name in ((alone, "c0"), (judged(reference_of(quiet), day), "c4"))
    )
    assert p_alone is not None
    assert p_among is not None
    assert p_alone > 10 * p_among


def spoilt(change: str) -> tuple[Reference, Day]:
    """A reference of numbers and cities, and a day of them with one fault in the first column."""
    random = np.random.default_rng(12)

    def ordinary() -> Day:
        numbers = random.normal(20, 5, 400)
        return [pa.array(numbers), pa.array(random.choice(["Bern", "Basel", "Chur"], 400, p=[0.5, 0.3, 0.2]))]

    quiet, day = [ordinary() for _ in range(20)], ordinary()
    numbers, cities = day[0].to_numpy(), day[1].to_pylist()
    changes: dict[str, Day] = {
        "nulls": [pa.array(numbers, mask=np.arange(400) < 60), day[1]],
        "celsius": [pa.array((numbers - 32) / 1.8), day[1]],
        "stuck": [pa.array(np.full(400, 20.0)), day[1]],
        "half as wide": [pa.array(20 + (numbers - 20) / 2), day[1]],
        "two humps": [pa.array(20 + 5 * np.sign(numbers - 20)), day[1]],
        "a sentinel": [pa.array(np.where(np.arange(400) < 44, -999.0, numbers)), day[1]],
        "lower case": [day[0], pa.array([city.lower() for city in cities])],
        "the first city halved": [
            day[0],
            pa.array([c if c != "Bern" or n % 2 else "Basel" for n, c in enumerate(cities)]),
        ],
        "a city missing": [day[0], pa.array(["Bern" if city == "Chur" else city for city in cities])],
    }
    return reference_of(quiet), changes[change]


FAULTS = {
    "nulls": ("c0", "null_share", "15.0% of `c0` is null, ordinarily 0.0%"),
    "celsius": ("c0", "location", "`c0` is 26.9 lower than in ordinary partitions (mean -6.8"),
    "stuck": ("c0", "scale", "the standard deviation of `c0` is 0.0"),
    "half as wide": ("c0", "scale", "the standard deviation of `c0` is 2.65"),
    "two humps": ("c0", "tails", "the kurtosis of `c0` is 1"),
    "a sentinel": ("c0", "outside_share", "12.0% of `c0` is outside the reference's range"),
    "lower case": ("c1", "unseen_share", "100.0% of `c1` is in unseen categories, ordinarily 0.0%"),
    "the first city halved": ("c1", "shape", "of `c1` is B"),
    "a city missing": ("c1", "shape", "of `c1` is "),
}


@pytest.mark.parametrize(("fault", "column", "statistic", "told"), [(k, *v) for k, v in FAULTS.items()])
def test_a_fault_is_found_and_named_and_told(fault: str, column: str, statistic: str, told: str) -> None:
    reference, day = spoilt(fault)
    report = judged(reference, day)
    assert report.alarms == (column,)
    assert statistic in {row.statistic for row in report.statistics if row.alarm}
    assert any(told in describe(row) for row in report.statistics if row.alarm and row.statistic == statistic)
    assert headline(report)


def test_the_sentence_is_the_plainest_and_names_other_columns() -> None:
    reference, day = spoilt("celsius")
    assert headline(judged(reference, day)).startswith("`c0` is 26")
    both = judged(reference, [day[0], spoilt("lower case")[1][1]])
    assert headline(both).endswith("moved, too")
    assert headline(judged(reference, spoilt("nulls")[1])).startswith("15.0% of `c0` is null")


def test_a_column_of_many_names_meets_new_ones_every_day_without_an_alarm() -> None:
    random = np.random.default_rng(10)

    def day() -> Day:
        return [pa.array([f"n{int(x)}" for x in random.zipf(1.3, 300) % 10**7])]

    reference = reference_of([day() for _ in range(20)])
    alarms = 0
    for _ in range(40):
        today = day()
        report = judged(reference, today)
        assert report.profile[0].unseen > 0
        alarms += bool(report.alarms)
    assert alarms <= 1


def test_a_fixed_limit_would_cry_wolf_where_this_does_not() -> None:
    random = np.random.default_rng(6)
    reference = reference_of([normal_day(random, columns=1, rows=200, day_sd=0.5) for _ in range(30)])
    psis, alarms = [], 0
    for _ in range(50):
        report = judged(reference, normal_day(random, columns=1, rows=200, day_sd=0.5))
        psis += [row.value for row in report.statistics if row.statistic == "psi"]
        alarms += bool(report.alarms)
    assert np.mean(np.array(psis) > 0.1) > 0.5
    assert alarms <= 2


def test_a_column_that_is_constant_on_each_day_has_no_shape() -> None:
    days = [[pa.array(np.full(300, float(n % 7)))] for n in range(21)]
    for day in days[:7]:
        report = judged(reference_of(days), day)
        assert (report.verdict, report.notes) == ("ok", ())
        shown = {row.statistic: row.value for row in report.statistics}
        assert (shown["skewness"], shown["tails"]) == (0.0, 1.0)


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_infinity_is_outside_the_range_of_the_reference_as_well(share: float) -> None:
    random = np.random.default_rng(15)

    def day() -> Day:
        numbers = random.normal(0, 1, 1_000)
        return [pa.array(np.where(random.random(1_000) < share, -np.inf, numbers))]

    report = judged(reference_of([day() for _ in range(20)]), day())
    outside = next(row for row in report.statistics if row.statistic == "outside_share")
    assert outside.reference == pytest.approx(share, abs=0.03)
    assert (report.verdict, report.alarms) == ("ok", ())


def test_certain_but_tiny_shifts_do_not_alarm() -> None:
    random = np.random.default_rng(8)
    reference = reference_of([[pa.array(random.normal(0, 1, 100_000))] for _ in range(8)])
    report = judged(reference, [pa.array(random.normal(0.05, 1, 100_000))])
    location = next(row for row in report.statistics if row.statistic == "location")
    assert location.p_value is not None
    assert location.p_value < 1e-4
    assert report.verdict in ("ok", "watch")


def test_too_few_partitions_or_rows_are_not_measured() -> None:
    random = np.random.default_rng(13)
    days = [normal_day(random, columns=1, rows=100, day_sd=0.0) for _ in range(MIN_PARTITIONS)]
    far = [pa.array(np.full(100, 1e6))]
    assert judged(reference_of(days), far).verdict == "critical"
    short = judged(reference_of(days[1:]), far)
    assert (short.verdict, short.alarms) == ("not measured", ())
    assert short.notes == ("the reference has 6 partitions, and ordinary variation takes 7",)
    few = judged(reference_of(days), [far[0].slice(0, 10)])
    assert (few.verdict, few.notes) == ("not measured", ("no column has 30 rows",))


def test_the_verdict_tells_an_alarm_from_a_look_and_from_what_concerns_half_of_the_rows() -> None:
    random = np.random.default_rng(14)
    reference = reference_of([normal_day(random, columns=3, rows=400, day_sd=0.0) for _ in range(20)])
    verdicts, ideal = {}, stats.norm.ppf((np.arange(400) + 0.5) / 400)
    for shift in (0.0, 0.19, 0.3, 6.0):
        day = [pa.array(ideal + shift * (n == 0)) for n in range(3)]
        verdicts[shift] = judged(reference, day, replace(SPEC, false_alarm_rate=1e-3))
    assert [one.verdict for one in verdicts.values()] == ["ok", "watch", "warning", "critical"]
    assert [len(one.notes) > 0 for one in verdicts.values()] == [False, True, False, False]
    outputs = replace(reference, columns=tuple(as_output(column) for column in reference.columns))
    assert judged(outputs, [pa.array(random.normal(0.5, 1, 400)), *day[1:]]).verdict == "critical"


def as_output(column: ReferenceColumn) -> ReferenceColumn:
    return replace(column, profile=replace(column.profile, role="output"))


@given(st.floats(-5, 5), st.floats(0.1, 50))
def test_location_and_scale_are_told_in_the_columns_units(value: float, unit: float) -> None:
    profile = ColumnProfile(name="x", role="feature", kind="numeric", counts=(1,), center=30.0, unit=unit)
    assert in_units(profile, "location", value) == pytest.approx(30 + unit * value)
    assert in_units(profile, "scale", value) == pytest.approx(unit * np.exp(value))
    assert in_units(profile, "null_share", value) == value


def test_adjusts_as_benjamini_and_hochberg_did() -> None:
    assert adjust([0.01, 0.02, 0.03, 0.5]) == pytest.approx([0.04, 0.04, 0.04, 0.5])
    assert adjust([]) == []


@given(st.floats(-6, 8), st.floats(-4, 4))
def test_tails_are_scipys_pearson3(z: float, skewness: float) -> None:
    expected = stats.pearson3.sf(z, skewness)
    # Below 0.01 the skewness is taken for none.
    expected = expected if abs(skewness) > 0.01 else stats.norm.sf(z)
    assert upper_tail(np.array([z]), np.array([skewness]))[0] == pytest.approx(expected, rel=1e-6, abs=1e-12)


number_lists = st.lists(st.floats(-50, 50), min_size=5, max_size=40).filter(lambda v: np.ptp(v) > 1)


@given(number_lists, number_lists)
def test_statistics_are_those_of_numpy_and_scipy(seen: list[float], later: list[float]) -> None:
    bins = make_bins("x", "feature", pa.array(seen))
    found = {one.name: one for one in statistics_of("numeric", current_table(count(bins, pa.array(later))))}
    z = np.clip((np.array(later) - bins.center) / bins.unit, -10, 10)
    low, high = bins.edges[0], bins.edges[-1]
    outside = np.mean([not low < value <= high for value in later])
    assert found["outside_share"].values[0] == pytest.approx(outside)
    assert found["location"].values[0] == pytest.approx(z.mean(), abs=1e-5)
    if z.std() > 0.01:
        assert np.exp(found["scale"].values[0]) == pytest.approx(z.std(), rel=1e-3)
    if z.std() > 0.1:
        assert np.sinh(found["skewness"].values[0]) == pytest.approx(stats.skew(z), rel=1e-2, abs=1e-2)
        kurtosis = max(stats.kurtosis(z, fisher=False), 1.0)
        assert np.exp(found["tails"].values[0]) == pytest.approx(kurtosis, rel=1e-2)
