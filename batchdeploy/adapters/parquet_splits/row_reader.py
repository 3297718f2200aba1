"""Reads Parquet files: splits from footers, whole partitions for a validator, batches for the kernel."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from batchdeploy.adapters.parquet_splits.input_checks import REQUESTS
from batchdeploy.adapters.parquet_splits.lookups import load_lookups, used_lookups
from batchdeploy.adapters.parquet_splits.parquet_files import PinnedInput, int96_loss, open_file
from batchdeploy.adapters.parquet_splits.pinned_files import open_pinned
from batchdeploy.adapters.parquet_splits.row_placement import folder_checks, place_rows, placing_columns
from batchdeploy.core.casts import Casts
from batchdeploy.core.pins import PathColumn
from batchdeploy.core.predicates import Predicate
from batchdeploy.core.records import DataPin, FilePin
from batchdeploy.core.scoring_spec import ScoringSpec
from batchdeploy.core.work import Split
from batchdeploy.errors import DataError, Problem
from batchdeploy.kernel.casts import cast_table
from batchdeploy.kernel.columns import Masks, plain_batch, plain_schema
from batchdeploy.kernel.lookups import add_lookups
from batchdeploy.kernel.partition_rows import rows_of_partition
from batchdeploy.kernel.path_columns import add_path_columns
from batchdeploy.kernel.row_filter import FilteredBatch, columns_read, filter_batch, matching
from batchdeploy.kernel.scoring import columns_needed, valid_frame

if TYPE_CHECKING:
    import pandas as pd

SPLIT_ROWS = 500_000
SAMPLED_SPLITS, SAMPLED_ROWS = 8, 1024


def make_splits(pin: DataPin) -> tuple[Split, ...]:
    """Divides a partition into splits of whole row groups, about half a million rows each."""
    splits: list[Split] = []
    for file, (sizes, checks) in zip(pin.files, _layouts(pin), strict=True):
        for groups, first, rows in _grouped(sizes, file.row_groups):
            splits.append(
                Split(
                    index=len(splits),
                    path=file.path,
                    location=file.location,
                    row_groups=groups,
                    first_row=first,
                    rows=rows,
                    md5=file.md5,
                    size=file.size,
                    identity=file.identity,
                    etag=file.etag,
                    version=file.version,
                    modified=file.modified,
                    storage=pin.storage,
                    path_columns=file.path_columns,
                    partition=pin.partition,
                    selects=file.row_groups is not None,
                    checks=checks,
                    lookups=pin.lookups,
                )
            )
    return tuple(splits)


def _layouts(pin: DataPin) -> list[tuple[list[int], tuple[PathColumn, ...]]]:
    """Of each file, the rows of its row groups, and the columns to compare with its folders."""

    def look(file: FilePin) -> tuple[list[int], tuple[PathColumn, ...]]:
        with open_pinned(file, pin.storage) as source, open_file(source) as opened:
            sizes = [opened.metadata.row_group(i).num_rows for i in range(opened.num_row_groups)]
            return sizes, folder_checks(file, opened, pin.partition)

    if not any("://" in file.location for file in pin.files):
        return [look(file) for file in pin.files]
    with ThreadPoolExecutor(REQUESTS) as pool:
        return list(pool.map(look, pin.files))


def read_frame(
    pin: DataPin,
    partition: tuple[str, str],
    where: Sequence[Predicate] = (),
    columns: Collection[str] | None = None,
    casts: Casts = MappingProxyType({}),
) -> pd.DataFrame:
    """Reads a partition as a pandas frame with nullable integers and booleans; NaN counts as null.

    Args:
        pin: the files to read.
        partition: name and value of the partition column, which is added.
        where: predicates that select the rows.
        columns: the columns to read, if the files have them; None for all.
        casts: columns to cast, to which type; a value that is lost in the cast is null.
    """
    import pandas as pd

    nullable = {
        pa.int8(): pd.Int8Dtype(),
        pa.int16(): pd.Int16Dtype(),
        pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
    }
    if columns is not None:
        columns = {*columns, *(predicate.column for predicate in where)}
    parts = [read_table(file, pin, columns, casts) for file in pin.files]
    schema = pa.schema([field.with_nullable(True) for field in parts[0].schema])
    table = pa.concat_tables([part.select(schema.names).cast(schema) for part in parts])
    if where:
        table = table.filter(matching(table, where))
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get)
    frame[partition[0]] = partition[1]
    return frame


def read_batches(
    split: Split, spec: ScoringSpec, columns: Sequence[str] | None = None
) -> Iterator[FilteredBatch]:
    """Yields batches of the split's rows that match ``where``.

    Args:
        split: the file and its row groups.
        spec: the predicates and the rows per batch.
        columns: the columns to read; None for all that the spec needs.
    """
    row, groups = split.first_row, list(split.row_groups)
    with open_pinned(split) as source, open_file(source, page_checksum_verification=True) as file:
        held, given = file.schema_arrow.names, [column.name for column in split.path_columns]
        given += [name for pin in split.lookups for name, _ in pin.columns]
        columns = columns or columns_needed(spec, [*held, *given])
        needed = columns_read(columns, spec.where)
        lookups = load_lookups(used_lookups(split.lookups, needed))
        needed += [name for found in lookups for name, _ in found.table.pin.keys if name not in needed]
        needed += [name for name in placing_columns(split) if name not in needed]
        # At least one column, or the batches would have no rows.
        names = [name for name in needed if name in held] or held[:1]
        lost = _int96_loss(file, source, split, columns)
        batches = file.iter_batches(batch_size=spec.batch_rows, row_groups=groups, columns=names)
        while (batch := _next(batches, split.path)) is not None:
            start, row = row - split.first_row, row + batch.num_rows
            batch = add_path_columns(batch, split.path_columns)
            inexact = {name: mask[start : start + batch.num_rows] for name, mask in lost.items()}
            try:
                placed = place_rows(batch, split, inexact)
                joined = add_lookups(placed.batch, lookups)
                found = filter_batch(joined, spec, columns, first_row=0, inexact=placed.inexact)
                found = placed.restore(found, split.first_row + start)
            # Corrupt pages may hold dictionary indices that are out of range.
            except pa.ArrowIndexError as error:
                raise _unreadable(split.path, error) from error
            yield found


def _int96_loss(file: pq.ParquetFile, source: PinnedInput, split: Split, columns: Sequence[str]) -> Masks:
    try:
        return int96_loss(file, source, list(split.row_groups), columns)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(split.path, error) from error


def sampled(splits: Sequence[Split]) -> Sequence[Split]:
    """Some splits across the partition."""
    step = max(1, len(splits) // SAMPLED_SPLITS)
    return splits[::step][:SAMPLED_SPLITS]


def sample_frame(split: Split, spec: ScoringSpec) -> pd.DataFrame | None:
    """A few valid rows of a split as the model takes them; None if it has none."""
    for filtered in read_batches(split, replace(spec, batch_rows=SAMPLED_ROWS)):
        frame = valid_frame(filtered.batch, spec)
        if len(frame):
            return frame
    return None


def _next(batches: Iterator[pa.RecordBatch], path: str) -> pa.RecordBatch | None:
    try:
        return next(batches, None)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def read_table(
    pinned: FilePin | Split,
    pin: DataPin,
    columns: Collection[str] | None,
    casts: Casts = MappingProxyType({}),
) -> pa.Table:
    """The partition's rows of a file or split, in plain types, with what its folders and lookups give.

    Args:
        pinned: the file or split.
        pin: the partition.
        columns: the columns to read, if there are such; None for all.
        casts: columns to cast, to which type; a value that is lost in the cast is null.

    Raises:
        DataError: the file changed since it was pinned, or its pages cannot be read.
        SourceError: the store of an object failed.
    """
    key, lookups, read = pin.partition, pin.lookups, columns
    selects = pinned.selects if isinstance(pinned, Split) else pinned.row_groups is not None
    if read is not None:
        lookups = used_lookups(lookups, read)
        read = {*read, *(name for lookup in lookups for name, _ in lookup.keys)}
        if selects and key is not None:
            read = {*read, key.column}
    with open_pinned(pinned, pin.storage) as source:
        table = _read_file(source, pinned, read)
    if selects and key is not None:
        table = table.filter(pa.array(rows_of_partition(table.column(key.column), key)))
    table = add_path_columns(table, pinned.path_columns)
    return cast_table(add_lookups(table, load_lookups(lookups)), casts)


def _read_file(source: PinnedInput, pinned: FilePin | Split, columns: Collection[str] | None) -> pa.Table:
    names = None
    try:
        with open_file(source, page_checksum_verification=True) as file:
            if columns is not None:
                known = file.schema_arrow.names
                # At least one column, or the table would have no rows.
                names = [name for name in known if name in columns] or known[:1]
            groups = range(file.num_row_groups) if pinned.row_groups is None else pinned.row_groups
            table = file.read_row_groups(list(groups), columns=names)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(pinned.path, error) from error
    batches = [part for batch in table.to_batches() for part in _plain_parts(batch, pinned.path)]
    return pa.Table.from_batches(batches, plain_schema(table.schema))


def _plain_parts(batch: pa.RecordBatch, path: str) -> Iterator[pa.RecordBatch]:
    """Yields the batch in plain types, halved until each part fits Arrow's limits."""
    try:
        yield plain_batch(batch)[0]
    except pa.ArrowIndexError as error:
        raise _unreadable(path, error) from error
    except MemoryError:
        if batch.num_rows < 2:
            raise
        half = batch.num_rows // 2
        yield from _plain_parts(batch.slice(0, half), path)
        yield from _plain_parts(batch.slice(half), path)


def _unreadable(path: str, error: Exception) -> DataError:
    return DataError(
        path, (Problem(path, "its pages cannot be read", str(error)),), hint="get the file again"
    )


def _grouped(
    sizes: Sequence[int], chosen: Collection[int] | None
) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """Neighbouring row groups, with their first row's number in the file and how many rows they have."""
    groups: list[int] = []
    first = rows = 0
    for index, size in enumerate(sizes):
        taken = chosen is None or index in chosen
        if taken:
            groups.append(index)
            rows += size
        if groups and (not taken or rows >= SPLIT_ROWS or index == len(sizes) - 1):
            yield tuple(groups), first, rows
            groups, first, rows = [], first + rows, 0
        if not taken:
            first += size
