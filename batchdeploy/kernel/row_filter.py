"""Selects the rows that match ``data.where``, in plain types, with the faults found on reading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from batchdeploy.core.policy import Rule
from batchdeploy.core.predicates import LISTS, NO_VALUE, Predicate, as_utc
from batchdeploy.core.scoring_spec import ScoringSpec
from batchdeploy.kernel.columns import Masks, in_microseconds, plain_batch
from batchdeploy.kernel.row_policy import RowFault

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


def matching(rows: pa.RecordBatch | pa.Table, where: Sequence[Predicate]) -> pa.Array:
    """A boolean per row, never null: whether it matches every predicate.

    Args:
        rows: the rows, with all columns that the predicates name.
        where: at least one predicate.

    Raises:
        ValueError: the column holds dates or times, and a predicate's value is none.
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


class FilteredBatch(NamedTuple):
    """The rows of a batch that match ``where``, in plain types.

    Attributes:
        places: the position of each row in its file or table.
        left_out: the number of rows that do not match.
        faults: faults of rows that were found on reading.
    """

    batch: pa.RecordBatch
    places: np.ndarray[Any, Any]
    left_out: int
    faults: tuple[RowFault, ...] = ()


def columns_read(columns: Sequence[str], where: Sequence[Predicate]) -> list[str]:
    """The columns that `filter_batch` needs to return ``columns``."""
    return [*dict.fromkeys([*columns, *(predicate.column for predicate in where)])]


def filter_batch(
    batch: pa.RecordBatch,
    spec: ScoringSpec,
    columns: Sequence[str],
    *,
    first_row: int,
    inexact: Masks | None = None,
) -> FilteredBatch:
    """The rows of a batch that match ``spec.where``, with their positions and faults.

    Args:
        batch: the columns of `columns_read`, in any encoding.
        spec: the predicates, keys and kept columns; timestamps of the latter become microseconds.
        columns: the columns of the result.
        first_row: the position of the batch's first row in its file or table.
        inexact: by column, a mask of the rows whose timestamp changed on reading.

    Raises:
        MemoryError: a column is larger than Arrow allows; a smaller batch may fit.
        pyarrow.ArrowIndexError: a dictionary index is out of range.
    """
    import numpy as np
    import pyarrow as pa

    read, places = batch.num_rows, np.arange(first_row, first_row + batch.num_rows)
    batch, spoilt = plain_batch(batch)
    batch, finer = in_microseconds(batch, (*spec.keys, *spec.keep))
    rows = None
    if spec.where:
        rows = matching(batch, spec.where).to_numpy(zero_copy_only=False)
        batch, places = batch.filter(pa.array(rows)), places[rows]
    faults = (*_faults("invalid_text", spoilt, rows), *_faults("inexact", finer | (inexact or {}), rows))
    wanted = tuple(fault for fault in faults if fault.column in columns)
    return FilteredBatch(batch.select(columns), places, read - batch.num_rows, wanted)


def _faults(rule: Rule, masks: Masks, matching_rows: np.ndarray[Any, Any] | None) -> Iterator[RowFault]:
    import numpy as np

    for name, mask in masks.items():
        rows = np.flatnonzero(mask if matching_rows is None else mask[matching_rows])
        if len(rows):
            yield RowFault(rule, name, rows)
