"""Rows that match predicates, type by type."""

from __future__ import annotations

import datetime as dt
import operator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeploy.core.predicates import Predicate
from batchdeploy.kernel.row_filter import matching

ROWS = pa.table(
    {
        "n": pa.array([1, 2, 3, None], pa.int32()),
        "x": pa.array([0.5, float("nan"), float("inf"), None], pa.float64(), from_pandas=False),
        "s": ["a", "b", None, "d'; --"],
        "b": [True, False, None, True],
        "d": pa.array([dt.date(2024, 1, 1), dt.date(2024, 1, 2), None, dt.date(2024, 1, 4)]),
        "t": pa.array(
            [dt.datetime(2024, 1, day, 12, tzinfo=dt.UTC) for day in (1, 2, 3, 4)], pa.timestamp("us", "UTC")
        ),
    }
)

HOLDS: dict[str, tuple[tuple[str, str, Any], list[int]]] = {
    "eq": (("n", "eq", 2), [1]),
    "ne is not for nulls": (("n", "ne", 2), [0, 2]),
    "an integer against a fraction": (("n", "gt", 1.5), [1, 2]),
    "an integer against a number it cannot hold": (("n", "lt", 2**40), [0, 1, 2]),
    "a double against an integer": (("x", "ge", 1), [2]),
    "NaN is not equal, nor unequal": (("x", "ne", 0.5), [2]),
    "NaN is null": (("x", "is_null", None), [1, 3]),
    "not null": (("x", "not_null", None), [0, 2]),
    "in": (("s", "in", ("a", "d'; --")), [0, 3]),
    "not in": (("s", "not_in", ("a",)), [1, 3]),
    "a boolean": (("b", "eq", True), [0, 3]),
    "a date": (("d", "ge", "2024-01-02"), [1, 3]),
    "a time with an offset": (("t", "lt", "2024-01-02T13:30:00+01:00"), [0, 1]),
    "a time": (("t", "lt", "2024-01-02T13:00:00"), [0, 1]),
}  # fmt: skip


@pytest.mark.parametrize(("asked", "expected"), HOLDS.values(), ids=HOLDS.keys())
def test_which_rows_a_predicate_holds_for(asked: tuple[str, Any, Any], expected: list[int]) -> None:
    column, op, value = asked
    found = matching(ROWS, [Predicate(column=column, op=op, value=value)])
    assert found.null_count == 0
    assert [row for row, holds in enumerate(found.to_pylist()) if holds] == expected


def test_large_and_fine_values_are_compared_as_they_are() -> None:
    rows = pa.table(
        {
            "u": pa.array([0, 2**63 + 1, 2**63 + 2], pa.uint64()),
            "ns": pa.array([1, 1_704_067_200_000_000_001, None], pa.timestamp("ns")),
        }
    )

    def holds(column: str, op: Any, value: Any) -> list[bool]:
        return list(matching(rows, [Predicate(column=column, op=op, value=value)]).to_pylist())

    assert holds("u", "gt", -1) == [True, True, True]
    assert holds("u", "gt", 2**63 - 1) == [False, True, True]
    assert holds("u", "in", (0, 7)) == [True, False, False]
    assert holds("ns", "ge", "2024-01-01") == [False, True, False]


def test_all_are_to_hold() -> None:
    where = [Predicate(column="n", op="ge", value=2), Predicate(column="b", op="not_null")]
    assert matching(ROWS, where).to_pylist() == [False, True, False, False]


@given(
    values=st.lists(st.none() | st.integers(-5, 5), max_size=30),
    op=st.sampled_from(["eq", "ne", "lt", "le", "gt", "ge"]),
    bound=st.integers(-6, 6),
)
def test_compares_as_python_does(values: list[int | None], op: Any, bound: int) -> None:
    rows = pa.table({"n": pa.array(values, pa.int64())})
    found = matching(rows, [Predicate(column="n", op=op, value=bound)]).to_pylist()
    assert found == [value is not None and getattr(operator, op)(value, bound) for value in values]
