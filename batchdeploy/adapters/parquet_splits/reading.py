"""Parquet files read: footers before the job, whole partitions for a validator, batches for the kernel."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from batchdeploy.core.predicates import Predicate, matching
from batchdeploy.core.records import DataPin
from batchdeploy.core.scoring import alive_frame, columns_needed
from batchdeploy.core.work import ScoreJob, Split
from batchdeploy.errors import DataError, Problem

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SPLIT_ROWS = 500_000
SAMPLED_SPLITS, SAMPLED_ROWS = 8, 1024


def make_splits(pin: DataPin) -> tuple[Split, ...]:
    """The partition cut into pieces of whole row groups, about half a million rows each."""
    splits: list[Split] = []
    for file in pin.files:
        with pq.ParquetFile(file.location) as opened:
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
    parts = [_read(file.location, file.path, columns) for file in pin.files]
    schema = pa.schema([field.with_nullable(True) for field in parts[0].schema])
    table = pa.concat_tables([part.select(schema.names).cast(schema) for part in parts])
    if where:
        table = table.filter(matching(table, where))
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get)
    frame[partition[0]] = partition[1]
    return frame


class Meant(NamedTuple):
    """The rows of a batch that are meant, where in the file each of them is, and how many are not."""

    batch: pa.RecordBatch
    places: np.ndarray[Any, Any]
    left_out: int


def read_batches(split: Split, job: ScoreJob, columns: Sequence[str] | None = None) -> Iterator[Meant]:
    """The split's rows that are meant.

    Args:
        split: which row groups of which file.
        job: which rows are meant, and how many of them make a batch.
        columns: what is read of them; null for all that the job needs.
    """
    import numpy as np

    row = split.first_row
    with pq.ParquetFile(split.location, page_checksum_verification=True) as file:
        columns = columns or columns_needed(job, file.schema_arrow.names)
        asked = [*dict.fromkeys([*columns, *(predicate.column for predicate in job.where)])]
        batches = file.iter_batches(
            batch_size=job.batch_rows, row_groups=list(split.row_groups), columns=asked
        )
        while (batch := _next(batches, split.path)) is not None:
            places = np.arange(row, row + batch.num_rows)
            read = batch.num_rows
            row += read
            if job.where:
                meant = matching(_plain(batch), job.where)
                batch, places = batch.filter(meant), places[meant.to_numpy(zero_copy_only=False)]
            yield Meant(_plain(batch.select(columns)), places, read - batch.num_rows)


def sample_frames(splits: Sequence[Split], job: ScoreJob) -> Iterator[pd.DataFrame]:
    """Frames of the model's inputs from all over the partition, as the kernel gives them to the model."""
    step = max(1, len(splits) // SAMPLED_SPLITS)
    for split in splits[::step][:SAMPLED_SPLITS]:
        for meant in read_batches(split, replace(job, batch_rows=SAMPLED_ROWS)):
            frame = alive_frame(meant.batch, job)
            if len(frame):
                yield frame
                break


def _next(batches: Iterator[pa.RecordBatch], path: str) -> pa.RecordBatch | None:
    try:
        return next(batches, None)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _read(location: str, path: str, columns: Collection[str] | None) -> pa.Table:
    names = None
    try:
        if columns is not None:
            known = pq.read_schema(location).names
            # NOTE: at least one, or there would be no rows.
            names = [name for name in known if name in columns] or known[:1]
        table = pq.read_table(location, columns=names, partitioning=None, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    return pa.Table.from_batches([_plain(batch) for batch in table.to_batches()], _plain_schema(table.schema))


def _unreadable(path: str, error: Exception) -> DataError:
    return DataError(
        path, (Problem(path, "its pages cannot be read", str(error)),), hint="get the file again"
    )


def logical(kind: pa.DataType) -> pa.DataType:
    """The type of the values, however they are encoded: writers mix these freely."""
    if isinstance(kind, pa.DictionaryType):
        kind = kind.value_type
    return {pa.large_string(): pa.string(), pa.large_binary(): pa.binary()}.get(kind, kind)


def _plain_schema(schema: pa.Schema) -> pa.Schema:
    return pa.schema([pa.field(field.name, logical(field.type)) for field in schema])


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with every column as its values are, so that all files of a run are written alike."""
    schema = _plain_schema(batch.schema)
    columns = [
        values if values.type == field.type else values.cast(field.type)
        for values, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _grouped(sizes: list[int]) -> Iterator[tuple[tuple[int, ...], int, int]]:
    groups: list[int] = []
    first = rows = 0
    for index, size in enumerate(sizes):
        groups.append(index)
        rows += size
        if rows >= SPLIT_ROWS or index == len(sizes) - 1:
            yield tuple(groups), first, rows
            groups, first, rows = [], first + rows, 0
