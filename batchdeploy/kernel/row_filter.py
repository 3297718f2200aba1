"""Rows that match ``data.where``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from batchdeploy.core.predicates import LISTS, NO_VALUE, Predicate, as_utc

if TYPE_CHECKING:
    import pyarrow as pa


def matching(rows: pa.RecordBatch | pa.Table, where: Sequence[Predicate]) -> pa.Array:
    """A boolean for each row, never null: whether it matches every predicate.

    Args:
        rows: with all columns that the predicates name.
        where: at least one predicate.

    Raises:
        ValueError: a value is not a date or time, where the column holds such.
    """
    from functools import reduce

    import pyarrow as pa
    import pyarrow.compute as pc

    compare: dict[str, Callable[..., Any]] = {
        "eq": pc.equal,
        "ne": pc.not_equal,
        "lt": pc.less,
        "le": pc.less_equal,
        "gt": pc.greater,
        "ge": pc.greater_equal,
    }

    def holds(predicate: Predicate) -> Any:
        column = rows.column(predicate.column)
        null = pc.is_null(column, nan_is_null=True)
        if predicate.op in NO_VALUE:
            return null if predicate.op == "is_null" else pc.invert(null)
        values = pa.array(predicate.values)
        if pa.types.is_temporal(column.type):
            times = [as_utc(str(value)) for value in predicate.values]
            column = column.cast(pa.timestamp("us"), safe=False)
            values = pa.array(times, pa.timestamp("us"))
        elif pa.types.is_integer(column.type) and pa.types.is_integer(values.type):
            wide = pa.decimal128(20, 0) if column.type == pa.uint64() else pa.int64()
            column, values = column.cast(wide), values.cast(wide)
        elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            column, values = column.cast(pa.float64(), safe=False), values.cast(pa.float64(), safe=False)
        if predicate.op in LISTS:
            inside = pc.is_in(column, value_set=values)
            found = inside if predicate.op == "in" else pc.invert(inside)
        else:
            found = compare[predicate.op](column, values[0])
        return pc.and_(pc.fill_null(found, False), pc.invert(null))

    return reduce(pc.and_, [holds(predicate) for predicate in where])
