"""Casts declared columns of a batch, and names the rows whose value the declared type cannot hold."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from batchdeploy.core.casts import Casts, CastType
from batchdeploy.kernel.columns import value_type
from batchdeploy.kernel.lists import flatten_lists, is_list
from batchdeploy.kernel.numbers import to_floats
from batchdeploy.kernel.parsing import parse_texts
from batchdeploy.kernel.times import to_dates, to_timestamps

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
NOT_ZERO = r"^[^eE]*[1-9]"
WHOLE = r"^[+-]?[0-9]+(?:\.0*)?$"
# From here on, doubles skip integers and have no fractions.
EXACT_BELOW = 2.0**53
SURE_DIGITS = 15


class CastValues(NamedTuple):
    """The values of a column after a cast.

    Attributes:
        values: null where the value was null or is lost.
        lost: a mask of the values that the declared type does not have.
        rounded: a mask of those that were rounded to the digits that it has.
    """

    values: pa.Array
    lost: np.ndarray[Any, Any]
    rounded: np.ndarray[Any, Any]


class CastBatch(NamedTuple):
    """A batch whose declared columns are cast.

    Attributes:
        originals: the cast columns as the files hold them.
        cast: by column, the values after the cast.
    """

    batch: pa.RecordBatch
    originals: dict[str, pa.Array]
    cast: dict[str, CastValues]


def cast_batch(batch: pa.RecordBatch, casts: Casts) -> CastBatch:
    """The batch with the declared columns cast, as far as it has them.

    Args:
        batch: columns in plain types, see `batchdeploy.kernel.columns.plain_batch`.
        casts: column to declared type; `batchdeploy.core.casts.can_cast` says which are possible.
    """
    import pyarrow as pa

    originals, cast = {}, {}
    for place, field in enumerate(batch.schema):
        if field.name in casts:
            originals[field.name] = batch.column(place)
            cast[field.name] = found = cast_values(batch.column(place), casts[field.name])
            batch = batch.set_column(place, pa.field(field.name, found.values.type), found.values)
    return CastBatch(batch, originals, cast)


def cast_table(table: pa.Table, casts: Casts) -> pa.Table:
    """The table with the declared columns cast, as far as it has them; null where a value is lost.

    Args:
        table: columns in plain types.
        casts: column to declared type.
    """
    import pyarrow as pa

    if not any(name in casts for name in table.column_names):
        return table
    # NOTE: an empty table has no batch, and its schema would be lost.
    batches = table.to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
    return pa.Table.from_batches([cast_batch(batch, casts).batch for batch in batches])


def cast_values(values: pa.Array, target: CastType) -> CastValues:
    """One column cast to the declared type.

    Numbers are rounded to the digits of a float or double; whole numbers have to stay the same, except as
    ``float`` of a double or decimal. Texts are numbers in decimal notation, ``true``/``false`` or 1/0, and
    dates and times in ISO 8601. A time with a zone is converted to UTC. Only midnight is cast to a date. The
    elements of lists are cast; a list is lost with any of them.
    """
    import numpy as np

    if is_list(values.type):
        return _cast_lists(values, target)
    cast, rounded = _CASTS[target](values)
    null, was_null = (one.is_null().to_numpy(zero_copy_only=False) for one in (cast, values))
    lost = null & ~was_null
    return CastValues(cast, lost, np.zeros(len(values), dtype=bool) if rounded is None else rounded & ~lost)


def _cast_lists(values: pa.Array, target: CastType) -> CastValues:
    import numpy as np
    import pyarrow as pa

    found = flatten_lists(values)
    cast = cast_values(found.elements.cast(value_type(found.elements.type)), target)
    offsets = np.concatenate([[0], np.cumsum(found.lengths)])
    lost, rounded = (
        found.rows_where(pa.array(mask)).to_numpy(zero_copy_only=False) for mask in (cast.lost, cast.rounded)
    )
    null = values.is_null().to_numpy(zero_copy_only=False) | lost
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), cast.values, mask=pa.array(null))
    return CastValues(lists, lost, rounded & ~lost)


Cast = tuple["pa.Array", "np.ndarray[Any, Any] | None"]


def _to_number(kind: str) -> Callable[[Any], Cast]:
    def cast(values: Any) -> Cast:
        import pyarrow as pa

        if pa.types.is_string(values.type):
            return _text_to_floats(values, kind)
        if pa.types.is_decimal(values.type):
            # NOTE: Arrow's own cast of decimals misses the nearest double of one value in ten.
            return _text_to_floats(values.cast(pa.string()), kind)
        if pa.types.is_boolean(values.type):
            return values.cast(pa.int8()).cast(kind), None
        return _floats(values, kind)

    return cast


def _floats(values: Any, kind: str) -> Cast:
    """Integers and floats as floats; null where a float cannot stand for the number."""
    import numpy as np
    import pyarrow as pa

    floats, rows = to_floats(values, {"float": "float32", "double": "float64"}[kind])
    null, rounded = values.is_null().to_numpy(zero_copy_only=False), None
    if kind == "float" and not pa.types.is_integer(values.type):
        doubles = values.cast("double", safe=False).to_numpy(zero_copy_only=False)
        rounded = (floats.astype("float64") != doubles) & np.isfinite(doubles)
    null = null.copy()
    null[np.asarray(rows, dtype="int64")] = True
    # NOTE: NaN is a value here; only what was null, or is lost, is null.
    return pa.array(floats, kind, mask=null, from_pandas=False), rounded


def _text_to_floats(texts: Any, kind: str) -> Cast:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    doubles = parse_texts(texts, pa.float64(), NUMBER)
    vanished = pc.and_(pc.equal(doubles, 0), pc.match_substring_regex(texts, NOT_ZERO))
    lost = pc.fill_null(pc.or_(pc.is_inf(doubles), vanished), False).to_numpy(zero_copy_only=False).copy()
    rounded = np.zeros(len(texts), dtype=bool)
    rows = _many_digits(texts, doubles)
    pairs = zip(texts.take(rows).to_pylist(), doubles.take(rows).to_pylist(), strict=True)
    rounded[rows] = [Decimal(repr(found)) != Decimal(text) for text, found in pairs]
    if kind == "double":
        lost |= rounded & (np.abs(doubles.to_numpy(zero_copy_only=False)) >= EXACT_BELOW)
    doubles = pc.if_else(pa.array(lost), pa.scalar(None, pa.float64()), doubles)
    if kind == "double":
        return doubles, rounded
    floats, narrowed = _floats(doubles, kind)
    return floats, rounded if narrowed is None else rounded | narrowed


def _many_digits(texts: Any, doubles: Any) -> np.ndarray[Any, Any]:
    """The rows whose digits may be more than a double has; fifteen it always has."""
    import numpy as np
    import pyarrow.compute as pc

    digits = pc.replace_substring_regex(texts, r"[eE].*$|[+.-]", "")
    digits = pc.utf8_trim(digits, "0")
    long = pc.greater(pc.binary_length(digits), SURE_DIGITS)
    long = pc.and_(long, pc.not_equal(doubles.cast(texts.type), texts))
    rows: np.ndarray[Any, Any] = np.flatnonzero(pc.fill_null(long, False).to_numpy(zero_copy_only=False))
    return rows


def _to_integer(kind: str) -> Callable[[Any], Cast]:
    def cast(values: Any) -> Cast:
        import pyarrow as pa
        import pyarrow.compute as pc

        if pa.types.is_string(values.type):
            digits = pc.if_else(pc.match_substring_regex(values, WHOLE), values, pa.scalar(None, pa.string()))
            digits = pc.replace_substring_regex(digits, r"^\+|\.0*$", "")
            return parse_texts(digits, pa.type_for_alias(kind)), None
        if pa.types.is_boolean(values.type):
            return values.cast(pa.int8()).cast(kind), None
        return whole_numbers(values, pa.type_for_alias(kind)), None

    return cast


def whole_numbers(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Numbers as integers; null where they are not whole, or do not fit."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return values.cast(kind)
    except pa.ArrowInvalid:
        pass
    bits = kind.bit_width - 1
    if pa.types.is_floating(values.type):
        values = values.cast(pa.float64())
        # NOTE: 2**63 is a double, 2**63 - 1 is none; hence "less" on the upper side.
        fits = pc.and_(pc.greater_equal(values, -(2.0**bits)), pc.less(values, 2.0**bits))
        fits = pc.and_(fits, pc.equal(pc.trunc(values), values))
        return pc.if_else(fits, values, pa.scalar(None, values.type)).cast(kind)
    if pa.types.is_integer(values.type):
        wide = values.cast(pa.decimal128(20, 0))
        low, high = (pa.scalar(Decimal(n), wide.type) for n in (-(2**bits), 2**bits - 1))
        fits = pc.and_(pc.greater_equal(wide, low), pc.less_equal(wide, high))
        return pc.if_else(fits, values, pa.scalar(None, values.type)).cast(kind)
    numbers = [None if number is None else _integer(number, bits) for number in values.to_pylist()]
    return pa.array(numbers, kind)


def _integer(number: Decimal, bits: int) -> int | None:
    whole = int(number)
    return whole if whole == number and -(2**bits) <= whole < 2**bits else None


def _to_booleans(values: Any) -> Cast:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_boolean(values.type):
        return values, None
    if pa.types.is_string(values.type):
        texts = pc.ascii_lower(values)
        true = pc.is_in(texts, value_set=pa.array(["true", "1"]))
        known = pc.or_(true, pc.is_in(texts, value_set=pa.array(["false", "0"])))
    else:
        numbers = whole_numbers(values, pa.int64())
        true = pc.fill_null(pc.equal(numbers, 1), False)
        known = pc.or_(true, pc.fill_null(pc.equal(numbers, 0), False))
    return pc.if_else(known, true, pa.scalar(None, pa.bool_())), None


def _to_text(values: Any) -> Cast:
    import pyarrow as pa

    return values.cast(pa.string()), None


_CASTS: dict[CastType, Callable[[Any], Cast]] = {
    "boolean": _to_booleans,
    "integer": _to_integer("int32"),
    "long": _to_integer("int64"),
    "float": _to_number("float"),
    "double": _to_number("double"),
    "string": _to_text,
    "date": lambda values: (to_dates(values), None),
    "timestamp": lambda values: (to_timestamps(values), None),
}
