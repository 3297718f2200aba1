"""Parquet files as pieces of work: footers read before the job, splits scored on whatever worker.

A worker reads its split, runs the kernel over it and writes what comes out to the run's private staging
folder; only counts, checksums and file names travel back. File names are unique for each try, and the
driver keeps those it was told of, so that a retried or speculated task cannot add a row.
"""

from __future__ import annotations

import hashlib
import os
import socket
import uuid
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchdeploy.adapters.parquet_splits.keys import MASK, hash_keys, sum_hashes, write_hashes
from batchdeploy.adapters.parquet_splits.row_reader import read_batches
from batchdeploy.core.layout import PRINTED
from batchdeploy.core.policy import Rule
from batchdeploy.core.profiles import ColumnProfile
from batchdeploy.core.records import OutputFile, QuarantinedRows
from batchdeploy.core.work import ScoreJob, Split, SplitResult
from batchdeploy.errors import BatchdeployError, EngineError, Problem, ScoringRefused
from batchdeploy.host.output_capture import capture_output
from batchdeploy.kernel.profiling import count_batch, empty, merge
from batchdeploy.kernel.row_policy import RowFault, findings
from batchdeploy.kernel.scoring import ScoredRows, same_twice, score_batch

if TYPE_CHECKING:
    import numpy as np

SMALLER = 8


def score_split(split: Split, job: ScoreJob, load: Callable[[str], Callable[[Any], Any]]) -> SplitResult:
    """Scores one split into staging: the whole work of a task.

    Where memory runs out, it begins again with smaller batches, down to single rows.

    Args:
        split: which row groups of which file.
        job: what to do.
        load: loads the model's folder; called once in a process for each model.

    Raises:
        ScoringRefused: the model cannot be loaded, or see `batchdeploy.kernel.scoring.score_batch`.
        EngineError: this process lacks what the model needs to be loaded.
    """
    misses = _model.cache_info().misses
    with ExitStack() as stack:
        printed = stack.enter_context(capture_output(_printed(split, job), alone=job.alone))
        predict = _loaded(job, load)
        loaded = _model.cache_info().misses > misses
        if job.threads is not None:
            from threadpoolctl import threadpool_limits

            stack.enter_context(threadpool_limits(job.threads))
        size = job.batch_rows
        while True:
            try:
                result = _score(split, replace(job, batch_rows=size), predict, printed.trim)
                return replace(result, loaded=loaded)
            except (MemoryError, pa.lib.ArrowCapacityError):
                if size == 1:
                    raise
                size = max(1, size // SMALLER)


def _printed(split: Split, job: ScoreJob) -> Path:
    return Path(job.staging, PRINTED, f"part-{split.index:05d}-{uuid.uuid4().hex[:12]}.txt")


def _score(
    split: Split, job: ScoreJob, predict: Callable[[Any], Any], batch_done: Callable[[], None]
) -> SplitResult:
    name = f"part-{split.index:05d}-{uuid.uuid4().hex[:12]}.parquet"
    staging = Path(job.staging)
    totals = _Totals(job.bins)
    with ExitStack() as stack:
        writers = {kind: _Writer(staging / kind / name) for kind in ("scored", "quarantine")}
        for writer in writers.values():
            stack.callback(writer.close)
        for batch, places, left_out, faults in read_batches(split, job):
            if not totals.rows and batch.num_rows and job.policy.nondeterministic == "fail":
                same_twice(batch, job, predict)
            rows = score_batch(
                batch,
                job,
                predict,
                origin=(split.path, places),
                faults=(*faults, *_duplicates(split, job, totals.rows, batch.num_rows)),
            )
            totals.left_out += left_out
            totals.add(batch, rows, job)
            # NOTE: also without a row: a partition whose rows were all quarantined still has a file that
            # names its run.
            writers["scored"].write(rows.scored)
            if rows.quarantined.num_rows:
                writers["quarantine"].write(rows.quarantined)
            batch_done()
    files = {kind: writer.finish(durable=job.durable) for kind, writer in writers.items()}
    keys_out = sum(_file_keys(staging / kind / name, job) for kind, file in files.items() if file)
    return SplitResult(
        index=split.index,
        scored=files["scored"],
        quarantine=files["quarantine"],
        rows_in=totals.rows,
        keys_in=totals.keys,
        keys_out=keys_out & MASK,
        quarantined=totals.quarantined(),
        profile=tuple(totals.profile.values()),
        loaded=False,
        worker=f"{socket.gethostname()}:{os.getpid()}",
        keys=write_hashes(staging, name, totals.hashes),
        findings=findings(totals.broken, job.policy),
        rows_left_out=totals.left_out,
    )


def _duplicates(split: Split, job: ScoreJob, start: int, rows: int) -> tuple[RowFault, ...]:
    """The split's duplicates that lie in a batch, counted from the batch's start."""
    low, high = bisect_left(split.duplicates, start), bisect_left(split.duplicates, start + rows)
    found = [row - start for row in split.duplicates[low:high]]
    return (RowFault("duplicate_key", ", ".join(job.keys), found),) if found else ()


class _Totals:
    """Running counts over the batches of a split."""

    def __init__(self, bins: tuple[ColumnProfile, ...]) -> None:
        self.rows = 0
        self.left_out = 0
        self.keys = 0
        self.hashes: list[np.ndarray[Any, Any]] = []
        self.broken: Counter[tuple[Rule, str]] = Counter()
        self.profile = {(bin_.role, bin_.name): empty(bin_) for bin_ in bins}
        self._reasons: Counter[tuple[Any, str]] = Counter()

    def add(self, batch: pa.RecordBatch, rows: ScoredRows, job: ScoreJob) -> None:
        scored, quarantined, broken = rows
        hashes = hash_keys(batch.select(list(job.keys)))
        self.rows += batch.num_rows
        self.keys = (self.keys + sum_hashes(hashes)) & MASK
        self.hashes.append(hashes)
        self.broken.update(broken)
        features = {name: batch.column(name) for name in batch.schema.names}
        outputs = {name: scored.column(name) for name, _ in job.outputs}
        counted = count_batch(job.bins, "feature", features) | count_batch(job.bins, "output", outputs)
        for key, profile in counted.items():
            self.profile[key] = merge(self.profile[key], profile)  # type: ignore[index]
        self._reasons.update(
            zip(
                quarantined.column("_stage").to_pylist(),
                quarantined.column("_reason").to_pylist(),
                strict=True,
            )
        )

    def quarantined(self) -> tuple[QuarantinedRows, ...]:
        return tuple(
            QuarantinedRows(stage=stage, reason=reason, rows=rows)
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

    def finish(self, *, durable: bool) -> OutputFile | None:
        if self._writer is None:
            return None
        with self._path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            if durable:
                os.fsync(stream.fileno())
        size = self._path.stat().st_size
        return OutputFile(path=self._path.name, rows=self._rows, size=size, sha256=digest)


def _loaded(job: ScoreJob, load: Callable[[str], Callable[[Any], Any]]) -> Callable[[Any], Any]:
    try:
        return _model(job.model_folder, job.model_digest, load)
    except BatchdeployError:
        raise
    except Exception as error:
        what = Problem("loading it", "failed", f"{type(error).__name__}: {error}")
        where = f"model version {job.model_version}"
        # NOTE: a package, a file or memory that is missing here may be there another time.
        if isinstance(error, (ImportError, OSError, MemoryError)):
            hint = "install what the model was made with" if isinstance(error, ImportError) else None
            raise EngineError(where, (what,), hint=hint) from error
        raise ScoringRefused(where, (what,), hint="log and register the model again") from error


@lru_cache(maxsize=2)
def _model(
    folder: str,
    digest: str,  # noqa: ARG001
    load: Callable[[str], Callable[[Any], Any]],
) -> Callable[[Any], Any]:
    """The model, once in a worker process. The digest is part of the key: a folder may be filled anew."""
    return load(folder)


def _file_keys(path: Path, job: ScoreJob) -> int:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        return sum(sum_hashes(hash_keys(batch)) for batch in file.iter_batches(columns=list(job.keys)))
