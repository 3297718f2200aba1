"""Reads and scores partitions in memory, with the real kernel between source tables and staged tables."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from batchdeploy.core.records import Column, DataPin, InputSchema, Plan
from batchdeploy.core.scoring_spec import ScoringSpec
from batchdeploy.core.work import AttemptFolders, ScoreJob, Split, SplitResult, WorkerCheck, WorkerProblem
from batchdeploy.errors import PartitionError
from batchdeploy.kernel.batch_loop import Writers, flag_duplicates, score_batches
from batchdeploy.kernel.casts import cast_batch
from batchdeploy.kernel.keys import checksum, duplicate_rows, hash_keys, key_tuples
from batchdeploy.kernel.row_filter import FilteredBatch, columns_read, filter_batch, matching
from batchdeploy.kernel.scoring import columns_needed
from batchdeploy.ports import LoadPredictor, Work
from fakes.source import FakeSource
from fakes.staging import FakeStaging, Kind


class FakeRows:
    """Reads the partitions of a source; each table is one split."""

    def __init__(self, source: FakeSource) -> None:
        self._source = source

    def inspect(self, pin: DataPin) -> InputSchema:
        """The columns and row count of a partition; PartitionError if it has no rows."""
        tables = [self._source.read(file.location, file.md5) for file in pin.files]
        rows = tuple(table.num_rows for table in tables)
        if not sum(rows):
            raise PartitionError(pin.path, "the partition holds no rows")
        columns = tuple(
            Column(name=field.name, type=str(field.type), required=not field.nullable)
            for field in tables[0].schema
        )
        return InputSchema(columns=columns, file_rows=rows)

    @contextmanager
    def frame(self, plan: Plan, columns: Collection[str] | None) -> Iterator[Any]:
        """Yields the rows matching `where` as a pandas frame, with the partition column."""
        spec = plan.deployment.data
        tables = [self._source.read(file.location, file.md5) for file in plan.data.files]
        table = pa.concat_tables(tables)
        if spec.where:
            table = table.filter(matching(table, spec.where))
        names = [name for name in table.column_names if columns is None or name in columns]
        frame = table.select(names).to_pandas()
        frame[spec.partition.column] = plan.partition
        yield frame

    def make_splits(self, pin: DataPin) -> tuple[Split, ...]:
        """One split per table."""
        return tuple(
            Split(
                index=index,
                path=file.path,
                location=file.location,
                row_groups=(0,),
                first_row=0,
                rows=self._source.read(file.location, file.md5).num_rows,
                md5=file.md5,
            )
            for index, file in enumerate(pin.files)
        )

    def batch(self, split: Split, spec: ScoringSpec) -> FilteredBatch:
        """A split's rows matching `where`, as one batch."""
        table = self._source.read(split.location, split.md5)
        columns = columns_needed(spec, table.column_names)
        read = table.select(columns_read(columns, spec.where)).combine_chunks()
        batches = read.to_batches() or [pa.RecordBatch.from_pylist([], schema=read.schema)]
        return filter_batch(batches[0], spec, columns, first_row=0)


class FakeScoring:
    """Scores splits into staging.

    Attributes:
        unreachable: what the worker finds that it cannot use.
    """

    def __init__(self, rows: FakeRows, staging: FakeStaging, load: LoadPredictor) -> None:
        self._rows = rows
        self._staging = staging
        self._load = load
        self.unreachable: tuple[WorkerProblem, ...] = ()

    def access_check(self, folders: AttemptFolders, splits: Sequence[Split]) -> WorkerCheck:
        """Finds what is unreachable."""
        return WorkerCheck(place=folders.name, run=lambda: self.unreachable)

    def prepare(self, job: ScoreJob, model: Path, splits: Sequence[Split]) -> ScoreJob:
        """The job itself: every model is native."""
        return job

    def worker(self, job: ScoreJob) -> Work:
        """The function that scores one split."""
        spec, attempt = job.spec, job.folders.name

        def score(split: Split) -> SplitResult:
            found: dict[Kind, list[Any]] = {"scored": [], "quarantine": []}
            counts = score_batches(
                flag_duplicates([self._rows.batch(split, spec)], split.duplicates, spec.keys),
                spec,
                self._load(job.model_folder),
                source=split.path,
                writers=Writers(found["scored"].append, found["quarantine"].append),
            )
            name = f"part-{split.index:05d}-{len(split.duplicates)}.parquet"
            tables = {kind: pa.Table.from_batches(batches) for kind, batches in found.items() if batches}
            files = {kind: self._staging.write(attempt, kind, name, rows) for kind, rows in tables.items()}
            keys = {kind: rows.select(list(spec.keys)).combine_chunks() for kind, rows in tables.items()}
            casts = {key: spec.casts[key] for key in spec.keys if key in spec.casts}
            written = [
                checksum(cast_batch(batch, casts if kind == "quarantine" else {}).batch)
                for kind, rows in keys.items()
                for batch in rows.to_batches()
            ]
            return SplitResult(
                index=split.index,
                scored=files["scored"],
                quarantine=files.get("quarantine"),
                rows_in=counts.rows_in,
                keys_in=counts.keys_in,
                keys_out=sum(written) % 2**64,
                quarantined=counts.quarantined,
                profile=counts.profile,
                loaded=split.index == 0,
                worker="memory:1",
                rows_left_out=counts.rows_left_out,
                findings=counts.findings,
                casts=counts.casts,
            )

        return score

    def find_duplicates(
        self, job: ScoreJob, splits: Sequence[Split], results: Sequence[SplitResult]
    ) -> tuple[Split, ...]:
        """The splits that hold rows with duplicate keys, each with its duplicate rows listed."""
        names = list(job.spec.keys)
        batches = (self._rows.batch(split, job.spec).batch.select(names) for split in splits)
        keys = [pa.Table.from_batches([batch]) for batch in batches]
        hashes = [hash_keys(table) for table in keys]
        found = duplicate_rows(hashes, lambda place, rows: key_tuples(keys[place].take(rows)))
        return tuple(replace(splits[place], duplicates=rows) for place, rows in found.items())
