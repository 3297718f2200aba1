"""Numbers that are cast for a model are those that were there, to the digits that their type has."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeploy.kernel.numbers import to_floats, to_integers

NAN, INF = float("nan"), float("inf")
FLOATS: dict[str, tuple[pa.Array, str, list[Any], list[int]]] = {
    "doubles to floats": (
        pa.array([0.1, 1e300, 1e-300, None, NAN, -INF, 0.0]), "float32",
        [float(np.float32(0.1)), INF, 0.0, NAN, NAN, -INF, 0.0], [1, 2],
    ),
    "integers to doubles": (pa.array([1, 2**53 + 1, None]), "float64", [1.0, 2.0**53, NAN], [1]),
    "integers to floats": (pa.array([1, 2**24 + 1]), "float32", [1.0, 2.0**24], [1]),
    "doubles": (pa.array([1.5, None, INF]), "float64", [1.5, NAN, INF], []),
}  # fmt: skip


@pytest.mark.parametrize(("values", "kind", "expected", "lost"), FLOATS.values(), ids=FLOATS.keys())
def test_floats_name_what_they_cannot_hold(
    values: pa.Array, kind: str, expected: list[float], lost: list[int]
) -> None:
    floats, rows = to_floats(values, kind)
    assert floats.dtype == kind
    np.testing.assert_array_equal(floats.astype("float64"), expected)
    assert list(rows) == lost


INTEGERS: dict[str, tuple[pa.Array, str, list[int], list[int]]] = {
    "doubles": (pa.array([3.0, 1.5, None, NAN, 1e30, -INF]), "int64", [3, 0, 0, 0, 0, 0], [1, 3, 4, 5]),
    "decimals": (
        pa.array([Decimal("7.00"), Decimal("7.50")], pa.decimal128(5, 2)), "int32", [7, 0], [1],
    ),
    "wider integers": (pa.array([5, 2**31, -(2**31)]), "int32", [5, 0, -(2**31)], [1]),
    "unsigned ones": (pa.array([5, 2**63], pa.uint64()), "int64", [5, 0], [1]),
    "what fits": (pa.array([5.0, None]), "int64", [5, 0], []),
}  # fmt: skip


@pytest.mark.parametrize(("values", "kind", "expected", "lost"), INTEGERS.values(), ids=INTEGERS.keys())
def test_integers_name_what_they_cannot_hold(
    values: pa.Array, kind: str, expected: list[int], lost: list[int]
) -> None:
    integers, rows = to_integers(values, kind)
    assert str(integers.type) == kind
    assert integers.to_pylist() == expected
    assert list(rows) == lost


@given(st.lists(st.floats(width=64)))
def test_a_float_is_the_nearest_one_or_named(numbers: list[float]) -> None:
    floats, rows = to_floats(pa.array(numbers, pa.float64()), "float32")
    for row, number in enumerate(numbers):
        if row not in set(rows) and math.isfinite(number):
            assert abs(float(floats[row]) - number) <= abs(number) * 2**-23 or abs(number) < 2**-125
