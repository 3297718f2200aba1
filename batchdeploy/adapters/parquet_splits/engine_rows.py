"""Rows that an engine reads itself and hands over to tasks, prepared as rows of splits are.

The last two columns of an engine's batches tell each row's file, by a number, and its position there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from batchdeploy.adapters.parquet_splits.lookups import load_lookups, used_lookups
from batchdeploy.adapters.parquet_splits.parquet_files import open_file
from batchdeploy.adapters.parquet_splits.pinned_files import open_pinned
from batchdeploy.adapters.parquet_splits.row_placement import place_rows, placing_columns
from batchdeploy.adapters.parquet_splits.worker import Load, score_rows
from batchdeploy.core.lookup_places import IN_PLACE, LookupPlaces
from batchdeploy.core.pins import DataPin, LookupPin
from batchdeploy.core.scoring_spec import ScoringSpec
from batchdeploy.core.work import ScoreJob, Split, SplitResult
from batchdeploy.errors import DataError, Problem
from batchdeploy.kernel.batch_loop import flag_keys
from batchdeploy.kernel.columns import plain_schema
from batchdeploy.kernel.keys import RepeatedKeys, candidate_keys
from batchdeploy.kernel.lookups import add_lookups
from batchdeploy.kernel.path_columns import add_path_columns
from batchdeploy.kernel.row_filter import FilteredBatch, columns_read, filter_batch
from batchdeploy.kernel.scoring import columns_needed, valid_frame

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


# A table may have thousands of tasks.
SAMPLED_ROWS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRows:
    """Prepares the batches that an engine hands over for the kernel; picklable.

    Attributes:
        path: of the data, for messages.
        files: one split for each pinned file, by the file's number.
        schema: the columns that the engine reads, in the types of the pinned files.
        columns: the columns that the kernel needs.
        lookups: the tables whose columns the rows get.
        places: where a worker has their files.
    """

    path: str
    files: Mapping[int, Split]
    schema: pa.Schema
    columns: tuple[str, ...]
    lookups: tuple[LookupPin, ...]
    places: LookupPlaces = IN_PLACE

    def read(self, batches: Iterable[pa.RecordBatch], spec: ScoringSpec) -> Iterator[FilteredBatch]:
        """Yields the rows that match ``where``, in batches of one file.

        Raises:
            DataError: a row is of a file that was not pinned.
        """
        lookups = load_lookups(self.places(self.lookups))
        for part in (part for batch in batches for part in _parts(batch, spec.batch_rows)):
            number, held = part.column(part.num_columns - 2)[0].as_py(), self._in_pinned_types(part)
            if number not in self.files:
                self._refuse(held)
                continue
            split, positions = self.files[number], part.column(part.num_columns - 1).to_numpy()
            batch = add_path_columns(held, split.path_columns)
            placed = place_rows(batch, split, {})
            joined = add_lookups(placed.batch, lookups)
            found = placed.restore(filter_batch(joined, spec, self.columns, first_row=0), 0)
            yield found._replace(places=positions[found.places], file=split.path)

    def _refuse(self, rows: pa.RecordBatch) -> None:
        """Raises for rows of a file that was not pinned, unless they are of other partitions."""
        split = next(iter(self.files.values()))
        if split.selects and not place_rows(rows, split, {}).batch.num_rows:
            return
        problem = Problem("a file", "was added or changed since the partition was pinned")
        raise DataError(self.path, (problem,), hint="run it again; nothing was published")

    def _in_pinned_types(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = [
            _cast(values, field.type) for values, field in zip(batch.columns[:-2], self.schema, strict=True)
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def engine_rows(
    pin: DataPin,
    files: Mapping[int, Split],
    schema: pa.Schema,
    spec: ScoringSpec,
    columns: Sequence[str] | None = None,
) -> EngineRows:
    """What prepares the rows of a partition.

    Args:
        pin: the partition.
        files: one split for each pinned file, by the number that the engine gives the file.
        schema: all columns of the files, in plain types.
        spec: what is scored.
        columns: the columns that are needed; None for all that the spec needs.
    """
    splits = list(files.values())
    given = [column.name for column in splits[0].path_columns]
    given += [name for lookup in pin.lookups for name, _ in lookup.columns]
    columns = columns or columns_needed(spec, [*schema.names, *given])
    needed = columns_read(columns, spec.where)
    lookups = used_lookups(pin.lookups, needed)
    needed += [name for lookup in lookups for name, _ in lookup.keys]
    needed += [name for split in splits for name in placing_columns(split)]
    names = [name for name in dict.fromkeys(needed) if name in schema.names]
    read = pa.schema([schema.field(name) for name in names])
    return EngineRows(path=pin.path, files=files, schema=read, columns=tuple(columns), lookups=lookups)


def pinned_schema(split: Split) -> pa.Schema:
    """All columns of a split's file, in plain types.

    Raises:
        DataError: the file changed since it was pinned.
    """
    with open_pinned(split) as source, open_file(source) as file:
        return plain_schema(file.schema_arrow.remove_metadata())


def nanosecond_columns(schema: pa.Schema) -> tuple[str, ...]:
    """The columns of a schema that hold timestamps in nanoseconds."""
    return tuple(f.name for f in schema if pa.types.is_timestamp(f.type) and f.type.unit == "ns")


def whole_files(pin: DataPin) -> tuple[Split, ...]:
    """One split for each file of rows that only the engine can read; a column tells the partition."""
    return tuple(
        Split(
            index=index,
            path=file.path,
            location=file.location,
            row_groups=(),
            first_row=0,
            rows=file.rows or 0,
            size=file.size,
            modified=file.modified,
            storage=pin.storage,
            partition=pin.partition,
            selects=True,
            lookups=pin.lookups,
        )
        for index, file in enumerate(pin.files)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RowScoring:
    """A picklable function that scores the rows of one task.

    Attributes:
        rows: prepares the rows.
        job: the model, the scoring spec and the staging folder.
        load: loads the model's folder; called once per process and model.
        repeated: the keys that occur more than once in the partition.
    """

    rows: EngineRows
    job: ScoreJob
    load: Load
    repeated: RepeatedKeys | None = None

    def __call__(self, index: int, batches: Iterator[pa.RecordBatch]) -> SplitResult | None:
        """The result of a task; None if it was given no rows.

        Raises:
            MemoryError: the batches are too large.
            BatchdeployError: see `batchdeploy.adapters.parquet_splits.worker.score_rows`.
        """
        first = next((batch for batch in batches if batch.num_rows), None)
        if first is None:
            return None
        found = self.rows.read(_chained(first, batches), self.job.spec)
        if self.repeated is not None:
            found = flag_keys(found, self.repeated, self.job.spec.keys)
        return score_rows(index, found, self.job, self.load)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCounting:
    """A picklable function that counts the keys of some hashes in one task.

    Attributes:
        rows: prepares the rows; their columns are the keys.
        spec: what is scored.
        hashes: of keys that may occur more than once.
    """

    rows: EngineRows
    spec: ScoringSpec
    hashes: np.ndarray[Any, Any]

    def __call__(self, index: int, batches: Iterator[pa.RecordBatch]) -> Counter[tuple[Any, ...]]:  # noqa: ARG002
        """How often each key of these hashes occurs."""
        found: Counter[tuple[Any, ...]] = Counter()
        for filtered in self.rows.read(batches, self.spec):
            _, keys = candidate_keys(filtered.batch.select(list(self.spec.keys)), self.hashes)
            found.update(keys)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSampling:
    """A picklable function that takes some of the rows of one task.

    Attributes:
        rows: prepares the rows.
        spec: what is scored.
    """

    rows: EngineRows
    spec: ScoringSpec

    def __call__(self, index: int, batches: Iterator[pa.RecordBatch]) -> pd.DataFrame | None:  # noqa: ARG002
        """A frame of the model's inputs; None if the task has none."""
        for filtered in self.rows.read(batches, self.spec):
            frame = valid_frame(filtered.batch, self.spec).head(SAMPLED_ROWS)
            if len(frame):
                return frame
        return None


def _chained(first: pa.RecordBatch, others: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from others


def _parts(batch: pa.RecordBatch, most: int) -> Iterator[pa.RecordBatch]:
    """Yields the batch in parts of one file, of at most so many rows."""
    import numpy as np

    numbers = batch.column(batch.num_columns - 2).to_numpy()
    ends = [*(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist(), batch.num_rows]
    start = 0
    for end in ends:
        for first in range(start, end, most):
            yield batch.slice(first, min(most, end - first))
        start = end


def _cast(values: pa.Array, kind: pa.DataType) -> pa.Array:
    if values.type == kind:
        return values
    if pa.types.is_timestamp(kind) and pa.types.is_integer(values.type):
        # Spark has timestamps in nanoseconds as integers.
        return values.view(pa.timestamp("ns")).cast(kind)
    return values.cast(kind)
