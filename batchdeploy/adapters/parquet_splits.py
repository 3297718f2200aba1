"""Parquet files as pieces of work: footers read before the job, splits scored on whatever worker.

A worker reads its split, runs the kernel over it and writes what comes out to the run's private staging
folder; only counts, checksums and file names travel back. File names are unique for each try, and the
driver keeps those it was told of, so that a retried or speculated task cannot add a row.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchdeploy.core.profiles import ColumnProfile
from batchdeploy.core.profiling import count_batch, empty, merge
from batchdeploy.core.records import Column, DataPin, InputSchema, OutputFile, SetAside
from batchdeploy.core.scoring import columns_needed, score_batch
from batchdeploy.core.work import ScoreJob, Split, SplitResult
from batchdeploy.errors import DataError, PartitionError, Problem

if TYPE_CHECKING:
    import pandas as pd

SPLIT_ROWS = 500_000
MASK = 2**64 - 1


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


def score_split(split: Split, job: ScoreJob, load: Callable[[str], Callable[[Any], Any]]) -> SplitResult:
    """Scores one split into staging: the whole work of a task.

    Args:
        split: which row groups of which file.
        job: what to do.
        load: loads the model's folder; called once in a process for each model.

    Raises:
        ScoringRefused: see `batchdeploy.core.scoring.score_batch`.
    """
    misses = _model.cache_info().misses
    predict = _model(job.model_folder, job.model_digest, load)
    loaded = _model.cache_info().misses > misses
    name = f"part-{split.index:05d}-{uuid.uuid4().hex[:12]}.parquet"
    totals = _Totals(job.bins)
    with ExitStack() as stack:
        if job.threads is not None:
            from threadpoolctl import threadpool_limits

            stack.enter_context(threadpool_limits(job.threads))
        writers = {kind: _Writer(Path(job.staging) / kind / name) for kind in ("scored", "quarantine")}
        for writer in writers.values():
            stack.callback(writer.close)
        for batch, first_row in _batches(split, job):
            scored, aside = score_batch(batch, job, predict, source=(split.path, first_row))
            totals.add(batch, scored, aside, job)
            # NOTE: also without a row: a partition whose rows were all set aside still has a file that
            # names its run.
            writers["scored"].write(scored)
            if aside.num_rows:
                writers["quarantine"].write(aside)
    files = {kind: writer.finish() for kind, writer in writers.items()}
    keys_out = sum(_file_keys(Path(job.staging) / kind / name, job) for kind, file in files.items() if file)
    return SplitResult(
        index=split.index,
        scored=files["scored"],
        quarantine=files["quarantine"],
        rows_in=totals.rows,
        keys_in=totals.keys,
        keys_out=keys_out & MASK,
        set_aside=totals.set_aside(),
        profile=tuple(totals.profile.values()),
        loaded=loaded,
    )


def checksum(keys: pa.RecordBatch | pa.Table) -> int:
    """An order-free checksum of rows of keys: the sum of 64-bit row hashes, modulo 2**64.

    Unlike XOR, a row that is there twice does not cancel out.
    """
    import pandas as pd

    # NOTE: as text, because an integer column with a null would become floats and hash otherwise.
    text = {name: keys.column(name).cast(pa.string()).to_pandas() for name in keys.schema.names}
    hashes = pd.util.hash_pandas_object(pd.DataFrame(text), index=False)
    return int(hashes.to_numpy().sum(dtype="uint64")) & MASK


class _Totals:
    """Running counts over the batches of a split."""

    def __init__(self, bins: tuple[ColumnProfile, ...]) -> None:
        self.rows = 0
        self.keys = 0
        self.profile = {(bin_.role, bin_.name): empty(bin_) for bin_ in bins}
        self._reasons: Counter[tuple[Any, str]] = Counter()

    def add(
        self, batch: pa.RecordBatch, scored: pa.RecordBatch, aside: pa.RecordBatch, job: ScoreJob
    ) -> None:
        self.rows += batch.num_rows
        self.keys = (self.keys + checksum(batch.select(list(job.keys)))) & MASK
        features = {name: batch.column(name) for name in batch.schema.names}
        outputs = {name: scored.column(name) for name, _ in job.outputs}
        counted = count_batch(job.bins, "feature", features) | count_batch(job.bins, "output", outputs)
        for key, profile in counted.items():
            self.profile[key] = merge(self.profile[key], profile)  # type: ignore[index]
        self._reasons.update(
            zip(aside.column("_stage").to_pylist(), aside.column("_reason").to_pylist(), strict=True)
        )

    def set_aside(self) -> tuple[SetAside, ...]:
        return tuple(
            SetAside(stage=stage, reason=reason, rows=rows)
            for (stage, reason), rows in sorted(self._reasons.items())
        )


class _Writer:
    """A Parquet file that comes into being with its first batch."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        self._rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self._path, batch.schema, write_page_checksum=True)
        self._writer.write_batch(batch)
        self._rows += batch.num_rows

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def finish(self) -> OutputFile | None:
        if self._writer is None:
            return None
        with self._path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            os.fsync(stream.fileno())
        size = self._path.stat().st_size
        return OutputFile(path=self._path.name, rows=self._rows, size=size, sha256=digest)


@lru_cache(maxsize=2)
def _model(
    folder: str,
    digest: str,  # noqa: ARG001
    load: Callable[[str], Callable[[Any], Any]],
) -> Callable[[Any], Any]:
    """The model, once in a worker process. The digest is part of the key: a folder may be filled anew."""
    return load(folder)


def _batches(split: Split, job: ScoreJob) -> Iterator[tuple[pa.RecordBatch, int]]:
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


def _file_keys(path: Path, job: ScoreJob) -> int:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        return sum(checksum(batch) for batch in file.iter_batches(columns=list(job.keys)))


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
