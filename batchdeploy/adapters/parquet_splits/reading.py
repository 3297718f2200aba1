"""Parquet files read: footers before the job, whole partitions for a validator, batches for the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from batchdeploy.core.records import Column, DataPin, InputSchema
from batchdeploy.core.scoring import columns_needed
from batchdeploy.core.work import ScoreJob, Split
from batchdeploy.errors import DataError, PartitionError, Problem

if TYPE_CHECKING:
    import pandas as pd

SPLIT_ROWS = 500_000


def inspect(pin: DataPin) -> InputSchema:
    """Columns and rows from the footers of all files.

    Raises:
        DataError: a file that is no Parquet, or files that do not have the same columns and types.
        PartitionError: not one row in all of them.
    """
    first: pa.Schema | None = None
    rows: list[int] = []
    problems: list[Problem] = []
    for file in pin.files:
        try:
            with pq.ParquetFile(file.location) as opened:
                schema, count = opened.schema_arrow.remove_metadata(), opened.metadata.num_rows
        except (pa.ArrowException, OSError) as error:
            got = "0 bytes" if file.size == 0 else str(error)
            problems.append(Problem(file.path, "cannot be read as Parquet", got))
            continue
        rows.append(count)
        first = schema if first is None else first
        problems += _differences(file.path, first, schema)
    if problems:
        raise DataError(f"{pin.path}", tuple(problems))
    assert first is not None
    if not sum(rows):
        raise PartitionError(f"{pin.path}/{_folder(pin)}", "the partition holds no rows")
    columns = tuple(
        Column(name=field.name, type=str(field.type), required=not field.nullable) for field in first
    )
    return InputSchema(columns=columns, file_rows=tuple(rows))


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


def read_frame(pin: DataPin, partition: tuple[str, str]) -> pd.DataFrame:
    """The partition as a pandas frame: nullable integers and booleans stay such, NaN counts as null.

    Args:
        pin: the files to read.
        partition: name and value of the partition column, which the files do not hold.
    """
    import pandas as pd

    nullable = {
        pa.int8(): pd.Int8Dtype(),
        pa.int16(): pd.Int16Dtype(),
        pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
    }
    parts = [_read(file.location, file.path) for file in pin.files]
    schema = pa.schema([field.with_nullable(True) for field in parts[0].schema])
    table = pa.concat_tables([part.select(schema.names).cast(schema) for part in parts])
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get)
    frame[partition[0]] = partition[1]
    return frame


def read_batches(split: Split, job: ScoreJob) -> Iterator[tuple[pa.RecordBatch, int]]:
    """The split's rows, the needed columns of them, and where in the file each batch begins."""
    row = split.first_row
    with pq.ParquetFile(split.location, page_checksum_verification=True) as file:
        columns = columns_needed(job, file.schema_arrow.names)
        batches = file.iter_batches(
            batch_size=job.batch_rows, row_groups=list(split.row_groups), columns=columns
        )
        while (batch := _next(batches, split.path)) is not None:
            yield _plain(batch.select(columns)), row
            row += batch.num_rows


def _next(batches: Iterator[pa.RecordBatch], path: str) -> pa.RecordBatch | None:
    try:
        return next(batches, None)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _read(location: str, path: str) -> pa.Table:
    try:
        table = pq.read_table(location, partitioning=None, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    return pa.Table.from_batches([_plain(batch) for batch in table.to_batches()], _plain_schema(table.schema))


def _unreadable(path: str, error: Exception) -> DataError:
    return DataError(
        path, (Problem(path, "its pages cannot be read", str(error)),), hint="get the file again"
    )


def _logical(kind: pa.DataType) -> pa.DataType:
    """The type of the values, however they are encoded: writers mix these freely."""
    if isinstance(kind, pa.DictionaryType):
        kind = kind.value_type
    return {pa.large_string(): pa.string(), pa.large_binary(): pa.binary()}.get(kind, kind)


def _plain_schema(schema: pa.Schema) -> pa.Schema:
    return pa.schema([pa.field(field.name, _logical(field.type)) for field in schema])


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


def _differences(path: str, first: pa.Schema, other: pa.Schema) -> Iterator[Problem]:
    for name in first.names:
        if name not in other.names:
            yield Problem(path, f"lacks the column {name} that other files have")
        elif _logical(other.field(name).type) != _logical(first.field(name).type):
            kinds = f"{other.field(name).type}, not {first.field(name).type}"
            yield Problem(path, f"holds {name} as another type than the first file", kinds)
    for name in other.names:
        if name not in first.names:
            yield Problem(path, f"has a column {name} that other files lack")


def _folder(pin: DataPin) -> str:
    return pin.files[0].path.split("/", 1)[0]
