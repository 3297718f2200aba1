"""Reads the tables of feature lookups, once per process."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import Lock

import pyarrow as pa

from batchdeploy.adapters.parquet_splits.parquet_files import open_file
from batchdeploy.adapters.parquet_splits.pinned_files import open_pinned
from batchdeploy.core.lookup_places import IN_PLACE, LookupPlaces
from batchdeploy.core.pins import DataPin, FilePin, LookupPin
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.errors import DataError, Problem
from batchdeploy.kernel.columns import plain_batch, plain_schema
from batchdeploy.kernel.lookups import LookupIndex, LookupTable, add_lookups, index_lookup, rows_before
from batchdeploy.kernel.path_columns import add_path_columns

BATCH_ROWS = 65_536
MEBIBYTE = 1 << 20


# The tables that this process has read, the last used at the end: those of a deployment, and few of others.
_INDEXES: dict[LookupPin, LookupIndex] = {}
_READING = Lock()
MOST_TABLES = 16


def load_lookups(pins: Sequence[LookupPin]) -> tuple[LookupTable, ...]:
    """What a partition may see of its lookups' tables.

    Raises:
        DataError: a file changed since it was pinned, or its pages cannot be read.
        SourceError: the store of an object failed.
    """
    return tuple(map(_seen, pins))


@lru_cache(maxsize=MOST_TABLES)
def _seen(pin: LookupPin) -> LookupTable:
    return rows_before(load_index(pin), pin.until)


def load_index(pin: LookupPin, most_mib: float | None = None) -> LookupIndex:
    """A lookup's table, read once per process for all partitions.

    Args:
        pin: the lookup of any partition.
        most_mib: see `read_lookup`.

    Raises:
        DataError, SourceError: see `read_lookup`; or two rows have the same key, or a time is missing.
    """
    table = replace(pin, until=None)
    with _READING:
        found = _INDEXES.pop(table, None) or index_lookup(read_lookup(table, most_mib), table)
        _INDEXES[table] = found
        while len(_INDEXES) > MOST_TABLES:
            del _INDEXES[next(iter(_INDEXES))]
        return found


def read_lookup(pin: LookupPin, most_mib: float | None = None) -> pa.Table:
    """The columns of a lookup's table that are used, in plain types.

    Args:
        pin: the lookup.
        most_mib: the memory that they may take; None for no limit.

    Raises:
        DataError: they take more, a file changed since it was pinned, or its pages cannot be read.
        SourceError: the store of an object failed.
    """
    batches, size = [], 0
    for batch in (batch for file in pin.files for batch in _batches(file, pin.storage, used_columns(pin))):
        batches.append(batch)
        size += batch.nbytes
        if most_mib is not None and size > most_mib * MEBIBYTE:
            raise DataError(pin.path, (too_large(most_mib, size, more=True),))
    return pa.Table.from_batches(batches, batches[0].schema).combine_chunks()


def table_schema(schema: pa.Schema, file: FilePin) -> pa.Schema:
    """The columns of a table's file, with those that the table gives to all of its rows."""
    return add_path_columns(schema.empty_table(), file.path_columns).schema


def used_columns(pin: LookupPin) -> list[str]:
    """The columns of the table that the lookup uses, each once."""
    names = [old for _, old in (*pin.keys, *pin.columns)] + ([pin.as_of] if pin.as_of else [])
    return [*dict.fromkeys(names)]


def used_lookups(pins: Sequence[LookupPin], columns: Collection[str]) -> tuple[LookupPin, ...]:
    """The lookups that give one of these columns to the rows, or a key of a later lookup that does."""
    wanted, used = {*columns}, []
    for pin in reversed(pins):
        if any(new in wanted for new, _ in pin.columns):
            used.append(pin)
            wanted.update(own for own, _ in pin.keys)
    return tuple(reversed(used))


def too_large(most_mib: float, size: float, *, more: bool = False) -> Problem:
    """What to say of a table whose columns take too much memory."""
    text = f"more than limits.lookup_mib = {most_mib:g} in memory; take fewer columns, join it to the rows"
    got = f"{size / MEBIBYTE:,.0f} MiB" + (" or more" if more else "")
    return Problem("its keys and columns", f"{text} before, or raise the limit", got)


@dataclass(frozen=True, slots=True)
class LookupJoin:
    """A picklable function that gives the columns of a partition's lookups to its rows.

    Attributes:
        places: where a worker has the lookups' files.
    """

    pin: DataPin
    places: LookupPlaces = IN_PLACE

    @property
    def fields(self) -> tuple[pa.Field, ...]:
        """The columns that it adds."""
        indexes = map(load_index, self.pin.lookups)
        return tuple(field for index in indexes for field in index.columns.schema)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the columns of all lookups."""
        return add_lookups(batch, load_lookups(self.places(self.pin.lookups)))


def _batches(file: FilePin, storage: StorageSpec, names: list[str]) -> Iterator[pa.RecordBatch]:
    try:
        with (
            open_pinned(file, storage) as source,
            open_file(source, page_checksum_verification=True) as opened,
        ):
            given = table_schema(opened.schema_arrow, file)
            schema = pa.schema([given.field(name).remove_metadata() for name in names])
            yield pa.RecordBatch.from_pylist([], plain_schema(schema))
            held = opened.schema_arrow.names
            # At least one column, or the batches would have no rows.
            read = [name for name in names if name in held] or held[:1]
            for batch in opened.iter_batches(batch_size=BATCH_ROWS, columns=read):
                plain, _ = plain_batch(add_path_columns(batch, file.path_columns).select(names))
                yield pa.RecordBatch.from_arrays(plain.columns, schema=plain_schema(schema))
    except (pa.ArrowException, OSError) as error:
        problem = Problem(file.path, "its pages cannot be read", str(error))
        raise DataError(file.path, (problem,), hint="get the file again") from error
