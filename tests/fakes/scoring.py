"""Partitions in memory read and scored: the real kernel between tables of a source and tables in staging."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from batchdeploy.core.records import Column, DataPin, InputSchema, Plan, QuarantinedRows
from batchdeploy.core.work import ScoreJob, Split, SplitResult
from batchdeploy.errors import PartitionError
from batchdeploy.kernel.profiling import count_batch
from batchdeploy.kernel.row_filter import matching
from batchdeploy.kernel.row_policy import RowFault, findings
from batchdeploy.kernel.scoring import columns_needed, score_batch
from batchdeploy.ports import LoadPredictor, Work
from fakes.source import FakeSource
from fakes.staging import FakeStaging, Kind


class FakeRows:
    """Reads the partitions of a source; each table is one split."""

    def __init__(self, source: FakeSource) -> None:
        self._source = source

    def inspect(self, pin: DataPin) -> InputSchema:
        """Columns and rows of a partition: PartitionError where there is no row."""
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
        """One split for each table."""
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

    def batch(self, split: Split, job: ScoreJob) -> tuple[Any, list[int], int]:
        """A split's rows matching `where`, their places in it, and how many others there are."""
        table = self._source.read(split.location, split.md5).combine_chunks()
        places = list(range(table.num_rows))
        if job.where:
            kept = matching(table, job.where)
            places = [place for place, keep in zip(places, kept.to_pylist(), strict=True) if keep]
        needed = table.select(columns_needed(job, table.column_names)).take(pa.array(places, pa.int64()))
        batches = needed.combine_chunks().to_batches()
        batch = batches[0] if batches else pa.RecordBatch.from_pylist([], schema=needed.schema)
        return batch, places, table.num_rows - len(places)


class FakeScoring:
    """Scores splits into staging."""

    def __init__(self, rows: FakeRows, staging: FakeStaging, load: LoadPredictor) -> None:
        self._rows = rows
        self._staging = staging
        self._load = load

    def prepare(self, job: ScoreJob, model: Path, splits: Sequence[Split]) -> ScoreJob:
        """The job itself: every model is native."""
        return job

    def worker(self, job: ScoreJob) -> Work:
        """The function that scores one split."""

        def score(split: Split) -> SplitResult:
            batch, places, left_out = self._rows.batch(split, job)
            faults = (RowFault("duplicate_key", ", ".join(job.keys), split.duplicates),)
            rows = score_batch(
                batch,
                job,
                self._load(job.model_folder),
                origin=(split.path, places),
                faults=faults if split.duplicates else (),
            )
            features = {name: batch.column(name) for name in batch.schema.names}
            outputs = {name: rows.scored.column(name) for name, _ in job.outputs}
            profiles = count_batch(job.bins, "feature", features) | count_batch(job.bins, "output", outputs)
            name = f"part-{split.index:05d}-{len(split.duplicates)}.parquet"
            kinds: dict[Kind, Any] = {"scored": rows.scored, "quarantine": rows.quarantined}
            files = {
                kind: self._staging.write(Path(job.staging).name, kind, name, pa.Table.from_batches([found]))
                for kind, found in kinds.items()
                if found.num_rows or kind == "scored"
            }
            return SplitResult(
                index=split.index,
                scored=files["scored"],
                quarantine=files.get("quarantine"),
                rows_in=batch.num_rows,
                keys_in=checksum(batch, job.keys),
                keys_out=sum(checksum(found, job.keys) for found in kinds.values()),
                quarantined=_reasons(rows.quarantined),
                profile=tuple(profiles.values()),
                loaded=split.index == 0,
                worker="memory:1",
                rows_left_out=left_out,
                findings=findings(rows.broken, job.policy),
            )

        return score

    def find_duplicates(
        self, job: ScoreJob, splits: Sequence[Split], results: Sequence[SplitResult]
    ) -> tuple[Split, ...]:
        """The splits with rows whose keys are not unique in the partition, with those rows named."""
        keys = {split.index: keys_of(self._rows.batch(split, job)[0], job.keys) for split in splits}
        counts = Counter(key for found in keys.values() for key in found if None not in key)
        marked = (
            replace(split, duplicates=tuple(i for i, key in enumerate(keys[split.index]) if counts[key] > 1))
            for split in splits
        )
        return tuple(split for split in marked if split.duplicates)


def keys_of(rows: Any, keys: Sequence[str]) -> list[tuple[Any, ...]]:
    """The key of each row."""
    return list(zip(*(rows.column(name).to_pylist() for name in keys), strict=True))


def checksum(rows: Any, keys: Sequence[str]) -> int:
    """An order-free checksum of the keys, modulo 2**64."""
    digests = (hashlib.sha256(repr(key).encode()).digest()[:8] for key in keys_of(rows, keys))
    return sum(int.from_bytes(digest, "big") for digest in digests) % 2**64


def _reasons(quarantined: Any) -> tuple[QuarantinedRows, ...]:
    found = zip(*(quarantined.column(name).to_pylist() for name in ("_stage", "_reason")), strict=True)
    return tuple(
        QuarantinedRows(stage=stage, reason=reason, rows=rows)
        for (stage, reason), rows in sorted(Counter(found).items())
    )
