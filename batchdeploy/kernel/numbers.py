"""Casts numbers between types, and finds the rows whose value would change."""

from __future__ import annotations

from collections.abc import Sequence
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

    Rounding a double to a 32-bit float is accepted; overflow to infinity or underflow to zero is not. An
    integer must be exact.
    """
    import numpy as np
    import pyarrow as pa

    floats: np.ndarray[Any, Any] = values.cast(kind, safe=False).to_numpy(zero_copy_only=False)
    if pa.types.is_integer(values.type):
        return floats, _changed(values, floats)
    if kind == "float32" and values.type == pa.float64():
        wide = values.to_numpy(zero_copy_only=False)
        lost = (np.isinf(floats) & np.isfinite(wide)) | ((floats == 0) & (wide != 0))
        return floats, np.flatnonzero(lost)
    return floats, ()


def _changed(values: pa.Array, floats: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The rows whose value changes in a round trip; above 2**53 a double does not hold every integer."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    back = pa.array(floats, from_pandas=True).cast(values.type, safe=False)
    changed = pc.fill_null(pc.not_equal(back, values), False).to_numpy(zero_copy_only=False)
    rows: np.ndarray[Any, Any] = np.flatnonzero(changed)
    return rows


def _fits(number: Any, kind: str) -> bool:
    unsigned = kind.startswith("u")
    bits = int(kind.removeprefix("u").removeprefix("int")) - (not unsigned)
    try:
        return bool(int(number) == number and (0 if unsigned else -(2**bits)) <= number < 2**bits)
    except (ValueError, OverflowError):
        return False
