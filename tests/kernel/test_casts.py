"""Declared casts keep a value, round it to the digits of a float, or name its row."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from score_jobs import scoring_spec

from batchdeploy.core.casts import ARROW_NAMES, SOURCES, CastCount, CastType, add_counts, can_cast
from batchdeploy.core.predicates import Predicate
from batchdeploy.core.records import Column
from batchdeploy.kernel.casts import cast_table, cast_values
from batchdeploy.kernel.row_filter import FilteredBatch, filter_batch
from batchdeploy.kernel.score_table import score_table

NAN, INF, D = float("nan"), float("inf"), Decimal
DAY, NOON = dt.datetime(2013, 1, 1), dt.datetime(2013, 1, 1, 12)

# Values and their type; the target; what they become; which are lost, and which are rounded.
CASES: dict[str, tuple[list[Any], pa.DataType, CastType, list[Any], list[int], list[int]]] = {
    "decimals": ([D("12.34"), None], pa.decimal128(10, 2), "double", [12.34, None], [], []),
    "narrow decimals": ([D("0.3"), D("457867.3")], pa.decimal32(9, 1), "double", [0.3, 457867.3], [], []),
    "wide decimals": ([D("0.1")], pa.decimal256(76, 50), "double", [0.1], [], []),
    "fractions of more digits than doubles have": (
        [D("0.333333333333333333"), D("0.1")], pa.decimal128(38, 18), "double", [1 / 3, 0.1], [], [0],
    ),
    "large decimals": (
        [D("12345678901234567890.12"), D("4.00")], pa.decimal128(38, 2), "double", [None, 4.0], [0], [],
    ),
    "decimals to floats": (
        [D("12.34"), D("0.50")], pa.decimal128(10, 2), "float", [float(np.float32(12.34)), 0.5], [], [0],
    ),
    "decimals to integers": (
        [D("7.00"), D("7.50"), None, D("9" * 36)],
        pa.decimal128(38, 2), "long", [7, None, None, None], [1, 3], [],
    ),
    "decimals to text": ([D("1.50")], pa.decimal128(5, 2), "string", ["1.50"], [], []),
    "doubles to floats": (
        [0.1, 0.5, 1e300, 1e-300, None, INF], pa.float64(), "float",
        [float(np.float32(0.1)), 0.5, None, None, None, INF], [2, 3], [0],
    ),
    "doubles to integers": (
        [3.0, 1.5, None, NAN, 2.0**63, -(2.0**63)],
        pa.float64(), "long", [3, None, None, None, None, -(2**63)],
        [1, 3, 4], [],
    ),
    "floats to narrower integers": ([3.0, 2.0**31], pa.float32(), "integer", [3, None], [1], []),
    "half floats": ([1.5], pa.float16(), "double", [1.5], [], []),
    "integers to doubles": ([1, 2**53 + 1, None], pa.int64(), "double", [1.0, None, None], [1], []),
    "integers to narrower ones": ([5, 2**31, -(2**31)], pa.int64(), "integer", [5, None, -(2**31)], [1], []),
    "unsigned integers": ([5, 2**63], pa.uint64(), "long", [5, None], [1], []),
    "integers to text": ([7, None], pa.int32(), "string", ["7", None], [], []),
    "integers to booleans": ([1, 0, 2, None], pa.int32(), "boolean", [True, False, None, None], [2], []),
    "doubles to booleans": ([1.0, 0.0, 0.5], pa.float64(), "boolean", [True, False, None], [2], []),
    "booleans to integers": ([True, None], pa.bool_(), "long", [1, None], [], []),
    "booleans to doubles": ([True, False], pa.bool_(), "double", [1.0, 0.0], [], []),
    "booleans to text": ([True], pa.bool_(), "string", ["true"], [], []),
    "text to doubles": (
        ["1.5", "+1", ".5", "1e5", "", "x", " 1", "nan", "1e400", "1e-400", "0e9", None],
        pa.string(), "double",
        [1.5, 1.0, 0.5, 1e5, None, None, None, None, None, None, 0.0, None], [4, 5, 6, 7, 8, 9], [],
    ),
    "long text to doubles": (
        ["0.1234567890123456789", "12345678901234567890", "0.30000000000000004"], pa.string(), "double",
        [0.12345678901234568, None, 0.30000000000000004], [1], [0],
    ),
    "text to floats": (["0.1", "1e39"], pa.string(), "float", [float(np.float32(0.1)), None], [1], [0]),
    "text to integers": (
        ["12", "+12", "007", "12.0", "12.5", "0x10", "9223372036854775808", ""], pa.string(), "long",
        [12, 12, 7, 12, None, None, None, None], [4, 5, 6, 7], [],
    ),
    "text to booleans": (
        ["true", "FALSE", "1", "0", "yes"], pa.string(), "boolean", [True, False, True, False, None], [4], [],
    ),
    "text to dates": (
        ["2013-01-01", "2013-02-30", "1.2.2013", "2013-01-01T00:00:00", None], pa.string(), "date",
        [DAY.date(), None, None, None, None], [1, 2, 3], [],
    ),
    "text to times": (
        ["2013-01-01", "2013-01-01T12:00", "2013-01-01 12:00:00.000000000",
        "2013-01-01 12:00:00.0000001", "noon"],
        pa.string(), "timestamp", [DAY, NOON, NOON, None, None], [3, 4], [],
    ),
    "text with a zone": (
        ["2013-01-01T14:00:00+02:00", "2013-01-01T12:00Z", "2013-01-01 06:30-0530"], pa.string(), "timestamp",
        [NOON, NOON, NOON], [], [],
    ),
    "times to dates": ([DAY, NOON, None], pa.timestamp("ns"), "date", [DAY.date(), None, None], [1], []),
    "milliseconds to dates": ([DAY.date()], pa.date64(), "date", [DAY.date()], [], []),
    "dates to times": ([DAY.date(), None], pa.date32(), "timestamp", [DAY, None], [], []),
    "dates to text": ([DAY.date()], pa.date32(), "string", ["2013-01-01"], [], []),
    "nanoseconds": (
        [1000, 1001], pa.timestamp("ns"), "timestamp",
        [dt.datetime(1970, 1, 1, 0, 0, 0, 1), None], [1], [],
    ),
    "seconds beyond microseconds": (
        [1, 10**18], pa.timestamp("s"), "timestamp",
        [dt.datetime(1970, 1, 1, 0, 0, 1), None], [1], [],
    ),
    "times with a zone": (
        [NOON.replace(tzinfo=dt.UTC)], pa.timestamp("ms", "Europe/Zurich"), "timestamp", [NOON], [], [],
    ),
    "nothing": ([], pa.string(), "double", [], [], []),
    "nulls": ([None], pa.string(), "timestamp", [None], [], []),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_each_cast(case: Any) -> None:
    values, kind, target, expected, lost, rounded = case
    found = cast_values(pa.array(values, kind), target)
    assert str(found.values.type) == ARROW_NAMES[target]
    assert found.values.to_pylist() == expected
    assert np.flatnonzero(found.lost).tolist() == lost
    assert np.flatnonzero(found.rounded).tolist() == rounded


LISTS = [pa.list_(pa.float64()), pa.large_list(pa.float64()), pa.list_(pa.float64(), 2)]


@pytest.mark.parametrize("kind", LISTS, ids=str)
def test_the_elements_of_lists_are_cast(kind: pa.DataType) -> None:
    values = pa.array([[0.0, 0.5], None, [0.5, 1e300], [0.5, 0.1], [None, 1.0]], kind).slice(1)
    found = cast_values(values, "float")
    assert str(found.values.type) == "list<item: float>"
    assert found.values.to_pylist() == [None, None, [0.5, float(np.float32(0.1))], [None, 1.0]]
    assert (np.flatnonzero(found.lost).tolist(), np.flatnonzero(found.rounded).tolist()) == ([1], [2])


TYPES = [
    pa.bool_(), pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(),
    pa.decimal128(9, 2), pa.string(),
    pa.date32(), pa.date64(), pa.timestamp("s"), pa.timestamp("ns", "UTC"),
]  # fmt: skip


@pytest.mark.parametrize("kind", TYPES, ids=str)
@pytest.mark.parametrize("target", SOURCES)
def test_every_cast_that_is_offered_is_there(kind: pa.DataType, target: CastType) -> None:
    if can_cast(str(kind), target):
        one = pa.scalar("1" if target not in ("date", "timestamp") else "2013-01-01").cast(pa.string())
        values = pa.array([one.as_py(), None]) if pa.types.is_string(kind) else pa.array([None, None], kind)
        found = cast_values(values, target)
        assert str(found.values.type) == ARROW_NAMES[target]
        assert not found.lost.any()


@given(
    st.lists(
        st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**20), max_value=10**20)
    )
)
def test_a_decimal_becomes_the_nearest_double_or_is_named(numbers: list[Decimal]) -> None:
    found = cast_values(pa.array(numbers, pa.decimal128(30, 4)), "double")
    for number, value, rounded in zip(numbers, found.values.to_pylist(), found.rounded, strict=True):
        assert value is None or value == float(number)
        assert rounded == (value is not None and Decimal(repr(value)) != number)
        # NOTE: fifteen digits a double always holds, and up to 2**53 every whole number.
        assert value is not None or abs(number) >= 2**53
        assert not rounded or abs(number) >= 10**11


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_the_text_of_a_double_is_that_double(numbers: list[float]) -> None:
    texts = pa.array([repr(number) for number in numbers], pa.string())
    found = cast_values(texts, "double")
    kept = [n for n, lost in zip(numbers, found.lost, strict=True) if not lost]
    assert [value for value in found.values.to_pylist() if value is not None] == kept
    assert not found.rounded.any()


@given(st.lists(st.integers(-(2**70), 2**70) | st.floats(allow_nan=False)))
def test_whole_numbers_in_text_are_exact_or_named(numbers: list[float]) -> None:
    texts = pa.array([str(number) for number in numbers], pa.string())
    for number, value in zip(numbers, cast_values(texts, "long").values.to_pylist(), strict=True):
        assert value is None or value == number
        assert value is not None or not (isinstance(number, int) and -(2**63) <= number < 2**63)


ROWS = pa.table(
    {
        "id": ["1", "2", "x", "4", "04"],
        "x": ["0.5", "abc", "1.5", "2.5", "3.5"],
        "born": ["2000-01-01", "2001-01-01", "2002-01-01", "soon", "1990-01-01"],
        "note": pa.array([D("0.333333333333333333")] * 5, pa.decimal128(38, 18)),
    }
)
SPEC = scoring_spec(
    keep=("note",),
    where=(Predicate(column="born", op="ge", value="2000-01-01"),),
    casts={"id": "long", "x": "double", "born": "date", "note": "double", "absent": "long"},
)


def filtered(spec: Any = SPEC) -> FilteredBatch:
    (batch,) = ROWS.combine_chunks().to_batches()
    return filter_batch(batch, spec, ["id", "x", "note"], first_row=0)


def test_rows_are_compared_once_they_are_cast_and_none_is_left_out_for_it() -> None:
    found = filtered()
    assert found.places.tolist() == [0, 1, 2, 3]
    assert found.left_out == 1
    faults = {(f.column, f.reason): list(f.rows) for f in found.faults}
    assert faults == {
        ("id", "no valid long: id"): [2],
        ("x", "no valid double: x"): [1],
        ("born", "no valid date: born"): [3],
    }
    assert found.casts == (
        CastCount(column="id", source="string", target="long", values=4, lost=1),
        CastCount(column="x", source="string", target="double", values=4, lost=1),
        CastCount(column="born", source="string", target="date", values=4, lost=1),
        CastCount(column="note", source="decimal128(38, 18)", target="double", values=4, rounded=4),
    )


def test_a_quarantined_row_is_kept_as_it_was_held_and_counted_once() -> None:
    table = ROWS.filter(pa.array([True, True, True, True, True]))
    spec = scoring_spec(keep=("note",), casts=dict(SPEC.casts))
    found = score_table(table, spec, lambda frame: frame["x"].to_numpy(), source="rows")
    quarantined = found.quarantined.to_pylist()
    assert [(row["id"], row["x"], row["_reason"]) for row in quarantined] == [
        ("2", "abc", "no valid double: x"),
        ("x", "1.5", "no valid long: id"),
        ("4", "2.5", "duplicate key id"),
        ("04", "3.5", "duplicate key id"),
    ]
    assert quarantined[0]["note"] == D("0.333333333333333333")
    assert found.scored.select(["id", "note", "y"]).to_pylist() == [{"id": 1, "note": 1 / 3, "y": 0.5}]
    rules = {(f.rule, f.column): f.rows for f in found.counts.findings}
    assert rules == {("cast", "id"): 1, ("cast", "x"): 1, ("duplicate_key", "id"): 2}


def test_a_required_feature_that_is_lost_is_no_null() -> None:
    spec = scoring_spec(inputs=(Column(name="x", type="double", required=True),), casts={"x": "double"})
    found = score_table(ROWS.select(["id", "x"]), spec, lambda frame: frame["x"].to_numpy())
    assert {(f.rule, f.column): f.rows for f in found.counts.findings} == {("cast", "x"): 1}


def test_a_table_of_no_rows_has_the_types() -> None:
    empty = cast_table(ROWS.slice(0, 0), SPEC.casts)
    assert empty.schema.types == [pa.int64(), pa.float64(), pa.date32(), pa.float64()]
    assert cast_table(ROWS, {}) is ROWS


def test_counts_are_added_up_by_column_and_type() -> None:
    one = CastCount(column="x", source="string", target="double", values=3, rounded=1)
    other = CastCount(column="x", source="decimal128(9, 2)", target="double", values=1)
    assert add_counts([one, other, one]) == (
        other,
        CastCount(column="x", source="string", target="double", values=6, rounded=2),
    )
    assert str(one) == "x: string to double, 3 values, 1 rounded"
