"""Selects the rows that match ``data.where``, cast as declared, with the faults found on reading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from batchdeploy.core.casts import CastCount, CastType
from batchdeploy.core.policy import Rule
from batchdeploy.core.predicates import LISTS, NO_VALUE, Predicate, as_utc
from batchdeploy.core.scoring_spec import ScoringSpec
from batchdeploy.kernel.casts import CastBatch, cast_batch
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
        places: the position of each row in its file or table; -1 where it is not known.
        left_out: the number of rows that do not match.
        faults: faults of rows that were found on reading.
        originals: the columns that were cast, as the file or table holds them.
        casts: what the casts did to the values.
        file: the input file, where the batches of a task are of several.
    """

    batch: pa.RecordBatch
    places: np.ndarray[Any, Any]
    left_out: int
    faults: tuple[RowFault, ...] = ()
    originals: Mapping[str, pa.Array] = MappingProxyType({})
    casts: tuple[CastCount, ...] = ()
    file: str = ""


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

    Columns are cast before they are compared. A row is kept if a value that ``where`` asks for is lost in the
    cast, so that it is quarantined rather than left out.

    Args:
        batch: the columns of `columns_read`, in any encoding.
        spec: the predicates, casts, keys and kept columns; timestamps of the last two become microseconds.
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
    done = cast_batch(batch, spec.casts)
    batch, finer = in_microseconds(done.batch, (*spec.keys, *spec.keep))
    rows, originals = np.ones(read, dtype=bool), done.originals
    if spec.where:
        rows = matching(batch, spec.where).to_numpy(zero_copy_only=False) | _uncompared(done, spec.where)
        batch, places = batch.filter(pa.array(rows)), places[rows]
        originals = {name: values.filter(pa.array(rows)) for name, values in originals.items()}
    faults = (
        *_faults("invalid_text", spoilt, rows),
        *_faults("inexact", finer | (inexact or {}), rows),
        *_cast_faults(done, spec.casts, rows),
    )
    return FilteredBatch(
        batch.select(columns),
        places,
        read - batch.num_rows,
        tuple(fault for fault in faults if fault.rule == "cast" or fault.column in columns),
        {name: values for name, values in originals.items() if name in columns},
        tuple(_cast_counts(done, spec.casts, rows)),
    )


def _uncompared(done: CastBatch, where: Sequence[Predicate]) -> np.ndarray[Any, Any]:
    """The rows of which a value that is compared was lost in a cast."""
    import numpy as np

    found = np.zeros(done.batch.num_rows, dtype=bool)
    for predicate in where:
        if predicate.column in done.cast:
            found |= done.cast[predicate.column].lost
    return found


def _faults(rule: Rule, masks: Masks, matching_rows: np.ndarray[Any, Any]) -> Iterator[RowFault]:
    import numpy as np

    for name, mask in masks.items():
        rows = np.flatnonzero(mask[matching_rows])
        if len(rows):
            yield RowFault(rule, name, rows)


def _cast_faults(
    done: CastBatch, casts: Mapping[str, CastType], matching_rows: np.ndarray[Any, Any]
) -> Iterator[RowFault]:
    import pyarrow as pa

    for name, cast in done.cast.items():
        for fault in _faults("cast", {name: cast.lost}, matching_rows):
            text = pa.types.is_string(done.originals[name].type)
            what = f"no valid {casts[name]}" if text else f"lost in the cast to {casts[name]}"
            yield fault._replace(reason=f"{what}: {name}")


def _cast_counts(
    done: CastBatch, casts: Mapping[str, CastType], matching_rows: np.ndarray[Any, Any]
) -> Iterator[CastCount]:
    for name, cast in done.cast.items():
        held = done.originals[name].is_valid().to_numpy(zero_copy_only=False)
        yield CastCount(
            column=name,
            source=str(done.originals[name].type),
            target=casts[name],
            values=int(held[matching_rows].sum()),
            rounded=int(cast.rounded[matching_rows].sum()),
            lost=int(cast.lost[matching_rows].sum()),
        )
