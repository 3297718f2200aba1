"""Joins columns of a table to rows by key, without adding, losing or doubling a row."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from batchdeploy.core.pins import LookupPin
from batchdeploy.errors import DataError, Problem
from batchdeploy.kernel.columns import plain_batch
from batchdeploy.kernel.keys import hash_keys

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

Rows = TypeVar("Rows", "pa.RecordBatch", "pa.Table")
EXAMPLES = 3
TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


class LookupIndex(NamedTuple):
    """A table by its keys: in the order of their hashes and, for equal keys, of the times of `as_of`.

    Attributes:
        pin: what the table is of.
        columns: the looked-up columns of all rows, with their names in the rows that get them.
        keys: the key columns of all rows, in the order of the pin.
        rows: which rows of the table these are; rows with a null key are left out.
        hashes: of each row's keys, ascending.
        codes: equal for equal keys, and only for those.
        times: from when each row is valid, in the unit of its type; zeros without ``as_of``.
        unit: the type of the times, or None.
    """

    pin: LookupPin
    columns: pa.Table
    keys: tuple[pa.Array, ...]
    rows: np.ndarray[Any, Any]
    hashes: np.ndarray[Any, Any]
    codes: np.ndarray[Any, Any]
    times: np.ndarray[Any, Any]
    unit: pa.DataType | None


class LookupTable(NamedTuple):
    """What a partition may see of a table: one row for each key.

    Attributes:
        table: all of its rows, which other partitions share.
        rows: the rows that are seen, in the order of their hashes.
        hashes: of their keys, ascending.
        run: how many rows share a hash at most; 1 unless hashes collide.
    """

    table: LookupIndex
    rows: np.ndarray[Any, Any]
    hashes: np.ndarray[Any, Any]
    run: int


def index_lookup(table: pa.Table, pin: LookupPin) -> LookupIndex:
    """A table in the order in which keys are found in it.

    Args:
        table: the columns that the pin names, in plain types.
        pin: keys, columns, and the column of the time.

    Raises:
        DataError: two rows have the same key, with ``as_of`` the same key and time; or a time is missing.
    """
    import numpy as np
    import pyarrow as pa

    keys = tuple(_key_values(table.column(name)) for _, name in pin.keys)
    held = np.logical_and.reduce([key.is_valid().to_numpy(zero_copy_only=False) for key in keys])
    rows = np.flatnonzero(held)
    known = [key.take(pa.array(rows)) for key in keys]
    hashes, codes = hash_keys(_batch(known)), _codes(known)
    times = _times(table.column(pin.as_of), pin)[rows] if pin.as_of else np.zeros(len(rows), np.int64)
    order = np.lexsort((times, codes, hashes))
    rows, hashes, codes, times = rows[order], hashes[order], codes[order], times[order]
    twice = (codes[1:] == codes[:-1]) & (times[1:] == times[:-1])
    if twice.any():
        raise _doubled(table, pin, rows[1:][twice])
    names = [new for new, _ in pin.columns]
    columns = table.select([old for _, old in pin.columns]).rename_columns(names).combine_chunks()
    unit = table.schema.field(pin.as_of).type if pin.as_of else None
    return LookupIndex(pin, columns, keys, rows, hashes, codes, times, unit)


def rows_before(index: LookupIndex, until: str | None) -> LookupTable:
    """The rows that a partition may see, one for each key: the newest that was valid in time.

    Args:
        index: of the table.
        until: when the partition ended, ISO 8601; None to see all rows.
    """
    import numpy as np

    rows, hashes, codes = index.rows, index.hashes, index.codes
    if until is not None and index.unit is not None:
        seen = index.times < _ticks(index.unit, until)
        rows, hashes, codes = rows[seen], hashes[seen], codes[seen]
    last = np.append(codes[1:] != codes[:-1], True)[: len(rows)]
    rows, hashes = rows[last], hashes[last]
    run = int(np.unique(hashes, return_counts=True)[1].max(initial=1))
    return LookupTable(index, rows, hashes, run)


def add_lookups(rows: Rows, lookups: Sequence[LookupTable]) -> Rows:
    """The same rows with the columns of lookups; a row whose key is not in a table has nulls there.

    Args:
        rows: a batch or table with the key columns.
        lookups: from `rows_before`.
    """
    import pyarrow as pa

    for lookup in lookups:
        keys = [_key_values(rows.column(name)) for name, _ in lookup.table.pin.keys]
        found = _find(lookup, keys)
        places = pa.array(found, mask=found < 0)
        for name in lookup.table.columns.schema.names:
            values = lookup.table.columns.column(name).take(places).combine_chunks()
            rows = rows.append_column(pa.field(name, values.type), values)
    return rows


def _find(lookup: LookupTable, keys: Sequence[pa.Array]) -> np.ndarray[Any, Any]:
    """For each row, which row of the table has its keys; -1 for none."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    found = np.full(len(keys[0]), -1, np.int64)
    if not len(lookup.hashes) or not len(found):
        return found
    hashes = hash_keys(_batch(keys))
    first = np.searchsorted(lookup.hashes, hashes)
    for step in range(lookup.run):
        places = np.minimum(first + step, len(lookup.hashes) - 1)
        rows = np.flatnonzero((found < 0) & (lookup.hashes[places] == hashes))
        here, there = pa.array(rows), pa.array(lookup.rows[places[rows]])
        same = np.ones(len(rows), dtype=bool)
        for key, known in zip(keys, lookup.table.keys, strict=True):
            # A null is equal to nothing.
            equal = pc.fill_null(pc.equal(key.take(here), known.take(there)), False)
            same &= equal.to_numpy(zero_copy_only=False)
        found[rows[same]] = lookup.rows[places[rows[same]]]
    return found


def _key_values(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The values of a key column, decoded, in one width: of integers, 64 bits."""
    import pyarrow as pa

    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    plain, _ = plain_batch(_batch([array]))
    array = plain.column(0)
    if pa.types.is_integer(array.type) and array.type != pa.uint64():
        return array.cast(pa.int64())
    return array.cast(pa.date32()) if pa.types.is_date(array.type) else array


def _batch(columns: Sequence[pa.Array]) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([*columns], names=[str(n) for n in range(len(columns))])


def _codes(keys: Sequence[pa.Array]) -> np.ndarray[Any, Any]:
    """A number for each row; equal for equal keys, and only for those."""
    import numpy as np

    codes = np.zeros(len(keys[0]), np.int64)
    for key in keys:
        encoded = key.dictionary_encode()
        indices = encoded.indices.to_numpy().astype(np.int64)
        # NOTE: numbered anew after each column, so that the product stays below the square of the rows.
        _, codes = np.unique(codes * len(encoded.dictionary) + indices, return_inverse=True)
    return codes


def _times(values: pa.ChunkedArray, pin: LookupPin) -> np.ndarray[Any, Any]:
    """Times as integers in the unit of their type; of a date, when it begins."""
    import pyarrow as pa

    if values.null_count:
        problem = Problem(str(pin.as_of), "says nothing for some rows; give every row a time", "null")
        raise DataError(pin.path, (problem,))
    if pa.types.is_date(values.type):
        values = values.cast(pa.timestamp("s"))
    times: np.ndarray[Any, Any] = values.cast(pa.int64()).to_numpy()
    return times


def _ticks(kind: pa.DataType, until: str) -> int:
    """A moment as an integer like `_times`: as the clock there shows it, for times without a zone."""
    import pyarrow as pa

    moment = datetime.fromisoformat(until)
    zoned = pa.types.is_timestamp(kind) and kind.tz is not None
    begin = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    if not zoned:
        moment, begin = moment.replace(tzinfo=None), begin.replace(tzinfo=None)
    unit = kind.unit if pa.types.is_timestamp(kind) else "s"
    return (moment - begin) // timedelta(seconds=1) * TICKS[unit]


def _doubled(table: pa.Table, pin: LookupPin, rows: np.ndarray[Any, Any]) -> DataError:
    names = [name for _, name in pin.keys] + ([pin.as_of] if pin.as_of else [])
    few = table.select(names).take(rows[:EXAMPLES].tolist()).to_pylist()
    got = "; ".join(", ".join(f"{name}={value}" for name, value in row.items()) for row in few)
    where = "more than one row"
    text = f"{len(rows):,} time{'' if len(rows) == 1 else 's'} {where}; keep one for each" + (
        " key and time" if pin.as_of else " key, or name the column that orders them in as_of"
    )
    return DataError(pin.path, (Problem(", ".join(names), text, got),))
