"""Casts numbers between types, and finds the rows whose value would change."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Rows = Sequence[int] | np.ndarray[Any, Any]


def to_integers(values: pa.Array, kind: str) -> tuple[pa.Array, Rows]:
    """The values as integers, and the rows without a whole number that fits; those and nulls are 0."""
    import pyarrow as pa

    try:
        # A checked cast of the whole column; only if it fails are the values checked one by one.
        return values.fill_null(0).cast(kind), ()
    except pa.ArrowInvalid:
        numbers = values.to_pylist()
    lost = [row for row, number in enumerate(numbers) if number is not None and not _fits(number, kind)]
    gone = set(lost)
    kept = [0 if number is None or row in gone else int(number) for row, number in enumerate(numbers)]
    return pa.array(kept, kind), lost


def to_floats(values: pa.Array, kind: str) -> tuple[np.ndarray[Any, Any], Rows]:
    """The values as floats, with NaN for null, and the rows whose value would change too much.

    Rounding a double or a decimal to a 32-bit float is accepted; overflow to infinity or underflow to zero is
    not. An integer must be exact, and a decimal must keep all the digits that a double can hold.
    """
    import numpy as np
    import pyarrow as pa

    whole, exact = pa.types.is_integer(values.type), pa.types.is_decimal(values.type)
    doubles = values.cast("float64", safe=False) if exact else values
    floats: np.ndarray[Any, Any] = doubles.cast(kind, safe=False).to_numpy(zero_copy_only=False)
    if whole or (exact and kind == "float64"):
        return floats, _changed(values, floats)
    if kind == "float32" and doubles.type == pa.float64():
        wide = doubles.to_numpy(zero_copy_only=False)
        lost = (np.isinf(floats) & np.isfinite(wide)) | ((floats == 0) & (wide != 0))
        return floats, np.flatnonzero(lost)
    return floats, ()


def _changed(values: pa.Array, floats: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The rows whose value changes in a round trip; above 2**53 a double does not hold every integer."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        back = pa.array(floats, from_pandas=True).cast(values.type, safe=False)
        changed = pc.fill_null(pc.not_equal(back, values), False).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        # NOTE: casting floats back fails for a decimal that uses all digits of its type.
        pairs = zip(values.to_pylist(), floats.tolist(), strict=True)
        changed = np.array([value is not None and Decimal(repr(found)) != value for value, found in pairs])
    rows: np.ndarray[Any, Any] = np.flatnonzero(changed)
    return rows


def _fits(number: Any, kind: str) -> bool:
    unsigned = kind.startswith("u")
    bits = int(kind.removeprefix("u").removeprefix("int")) - (not unsigned)
    try:
        return bool(int(number) == number and (0 if unsigned else -(2**bits)) <= number < 2**bits)
    except (ValueError, OverflowError):
        return False
