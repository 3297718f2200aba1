"""Parquet files read: footers before the job, whole partitions for a validator, batches for the kernel."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from batchdeploy.adapters.parquet_splits.columns import (
    Masks,
    in_microseconds,
    int96_loss,
    open_file,
    plain_batch,
    plain_schema,
)
from batchdeploy.adapters.parquet_splits.pinned_files import open_pinned
from batchdeploy.core.policy import Rule
from batchdeploy.core.predicates import Predicate
from batchdeploy.core.records import DataPin, FilePin
from batchdeploy.core.work import ScoreJob, Split
from batchdeploy.errors import DataError, Problem
from batchdeploy.kernel.row_filter import matching
from batchdeploy.kernel.row_policy import RowFault
from batchdeploy.kernel.scoring import columns_needed, valid_frame

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SPLIT_ROWS = 500_000
SAMPLED_SPLITS, SAMPLED_ROWS = 8, 1024


def make_splits(pin: DataPin) -> tuple[Split, ...]:
    """The partition cut into pieces of whole row groups, about half a million rows each."""
    splits: list[Split] = []
    for file in pin.files:
        with open_pinned(file) as location, open_file(location) as opened:
            sizes = [opened.metadata.row_group(i).num_rows for i in range(opened.num_row_groups)]
        for groups, first, rows in _grouped(sizes):
            splits.append(
                Split(
                    index=len(splits),
                    path=file.path,
                    location=file.location,
                    row_groups=groups,
                    first_row=first,
                    rows=rows,
                    md5=file.md5,
                    identity=file.identity,
                )
            )
    return tuple(splits)


def read_frame(
    pin: DataPin,
    partition: tuple[str, str],
    where: Sequence[Predicate] = (),
    columns: Collection[str] | None = None,
) -> pd.DataFrame:
    """The partition as a pandas frame: nullable integers and booleans stay such, NaN counts as null.

    Args:
        pin: the files to read.
        partition: name and value of the partition column, which the files do not hold.
        where: which rows are meant.
        columns: those to read, as far as the files have them; None for all.
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
    parts = [_read(file, columns) for file in pin.files]
    schema = pa.schema([field.with_nullable(True) for field in parts[0].schema])
    table = pa.concat_tables([part.select(schema.names).cast(schema) for part in parts])
    if where:
        table = table.filter(matching(table, where))
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get)
    frame[partition[0]] = partition[1]
    return frame


class FilteredBatch(NamedTuple):
    """The rows of a batch that are meant, where in the file each of them is, and how many are not.

    Attributes:
        faults: what is wrong with rows of it, as far as reading tells.
    """

    batch: pa.RecordBatch
    places: np.ndarray[Any, Any]
    left_out: int
    faults: tuple[RowFault, ...] = ()


def read_batches(
    split: Split, job: ScoreJob, columns: Sequence[str] | None = None
) -> Iterator[FilteredBatch]:
    """The split's rows that are meant.

    Args:
        split: which row groups of which file.
        job: which rows are meant, and how many of them make a batch.
        columns: what is read of them; null for all that the job needs.
    """
    import numpy as np

    row, groups = split.first_row, list(split.row_groups)
    with open_pinned(split) as location, open_file(location, page_checksum_verification=True) as file:
        columns = columns or columns_needed(job, file.schema_arrow.names)
        asked = [*dict.fromkeys([*columns, *(predicate.column for predicate in job.where)])]
        lost = _int96_loss(file, replace(split, location=location), columns)
        batches = file.iter_batches(batch_size=job.batch_rows, row_groups=groups, columns=asked)
        while (batch := _next(batches, split.path)) is not None:
            start, read = row - split.first_row, batch.num_rows
            places = np.arange(row, row + read)
            row += read
            batch, invalid_text = _plain(batch, split.path)
            batch, finer = in_microseconds(batch, (*job.keys, *job.keep))
            finer |= {name: mask[start : start + read] for name, mask in lost.items()}
            matching_rows = None
            if job.where:
                matching_rows = matching(batch, job.where).to_numpy(zero_copy_only=False)
                batch, places = batch.filter(pa.array(matching_rows)), places[matching_rows]
            faults = (
                *_faults("invalid_text", invalid_text, matching_rows),
                *_faults("inexact", finer, matching_rows),
            )
            faults = tuple(fault for fault in faults if fault.column in columns)
            yield FilteredBatch(batch.select(columns), places, read - batch.num_rows, faults)


def _int96_loss(file: pq.ParquetFile, split: Split, columns: Sequence[str]) -> Masks:
    try:
        return int96_loss(file, split.location, list(split.row_groups), columns)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(split.path, error) from error


def _faults(rule: Rule, masks: Masks, matching_rows: np.ndarray[Any, Any] | None) -> Iterator[RowFault]:
    import numpy as np

    for name, mask in masks.items():
        rows = np.flatnonzero(mask if matching_rows is None else mask[matching_rows])
        if len(rows):
            yield RowFault(rule, name, rows)


def sample_frames(splits: Sequence[Split], job: ScoreJob) -> Iterator[pd.DataFrame]:
    """Frames of the model's inputs from all over the partition, as the kernel gives them to the model."""
    step = max(1, len(splits) // SAMPLED_SPLITS)
    for split in splits[::step][:SAMPLED_SPLITS]:
        for filtered in read_batches(split, replace(job, batch_rows=SAMPLED_ROWS)):
            frame = valid_frame(filtered.batch, job)
            if len(frame):
                yield frame
                break


def _next(batches: Iterator[pa.RecordBatch], path: str) -> pa.RecordBatch | None:
    try:
        return next(batches, None)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _read(pinned: FilePin, columns: Collection[str] | None) -> pa.Table:
    with open_pinned(pinned) as location:
        return _read_file(location, pinned.path, columns)


def _read_file(location: str, path: str, columns: Collection[str] | None) -> pa.Table:
    names = None
    try:
        if columns is not None:
            known = pq.read_schema(location).names
            # At least one, or there would be no rows.
            names = [name for name in known if name in columns] or known[:1]
        with open_file(location, page_checksum_verification=True) as file:
            table = file.read(columns=names)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    batches = [part for batch in table.to_batches() for part in _plain_parts(batch, path)]
    return pa.Table.from_batches(batches, plain_schema(table.schema))


def _plain(batch: pa.RecordBatch, path: str) -> tuple[pa.RecordBatch, Masks]:
    """The batch as its values are; spoilt pages may name entries of a dictionary that it does not have."""
    try:
        return plain_batch(batch)
    except pa.ArrowIndexError as error:
        raise _unreadable(path, error) from error


def _plain_parts(batch: pa.RecordBatch, path: str) -> Iterator[pa.RecordBatch]:
    """The batch as its values are, in two parts or more where they do not fit into one."""
    try:
        yield _plain(batch, path)[0]
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


def _grouped(sizes: list[int]) -> Iterator[tuple[tuple[int, ...], int, int]]:
    groups: list[int] = []
    first = rows = 0
    for index, size in enumerate(sizes):
        groups.append(index)
        rows += size
        if rows >= SPLIT_ROWS or index == len(sizes) - 1:
            yield tuple(groups), first, rows
            groups, first, rows = [], first + rows, 0
