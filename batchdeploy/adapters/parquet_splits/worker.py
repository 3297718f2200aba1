"""Scores a split on a worker.

A worker reads its split, runs the kernel over it and writes the scored and quarantined rows to the attempt's
own folders; only counts, checksums and file names are returned. File names are unique per try, and the driver
keeps only files that a result names, so a retried or speculative task cannot duplicate rows.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pyarrow.parquet as pq

from batchdeploy.adapters.parquet_splits.part_files import PartFile
from batchdeploy.adapters.parquet_splits.row_reader import read_batches
from batchdeploy.adapters.parquet_splits.scratch_files import printed_file, write_hashes
from batchdeploy.core.casts import Casts
from batchdeploy.core.work import ScoreJob, Split, SplitResult
from batchdeploy.errors import BatchdeployError, EngineError, Problem, ScoringRefused
from batchdeploy.host.output_capture import capture_output
from batchdeploy.kernel.batch_loop import Writers, flag_duplicates, retry_smaller, score_batches
from batchdeploy.kernel.casts import cast_batch
from batchdeploy.kernel.keys import MASK, hash_keys, sum_hashes
from batchdeploy.kernel.row_filter import FilteredBatch
from batchdeploy.storage.opening import plain_store_errors

Load = Callable[[str], Callable[[Any], Any]]


def score_split(split: Split, job: ScoreJob, load: Load) -> SplitResult:
    """Scores one split into staging. This is the whole work of a task.

    If memory runs out, it starts again with smaller batches, down to single rows.

    Args:
        split: the file and its row groups.
        job: the model, the scoring spec and where the files go.
        load: loads the model's folder; called once per process and model.

    Raises:
        ScoringRefused: the model cannot be loaded, or see `batchdeploy.kernel.scoring.score_batch`.
        EngineError: a package, a file or memory is missing that loading the model needs.
    """

    def attempt(batch_rows: int) -> SplitResult:
        spec = replace(job.spec, batch_rows=batch_rows)
        batches = flag_duplicates(read_batches(split, spec), split.duplicates, spec.keys)
        return _score(_followed(batches, batch_done), split.index, job, predict, source=split.path)

    with _loaded_model(split.index, job, load) as (predict, batch_done, loaded):
        return replace(retry_smaller(attempt, job.spec.batch_rows), loaded=loaded)


def score_rows(index: int, batches: Iterable[FilteredBatch], job: ScoreJob, load: Load) -> SplitResult:
    """Scores the rows that an engine hands over to a task, which can be read only once.

    Args:
        index: the task's number.
        batches: the rows, each batch with its file.
        job: the model, the scoring spec and where the files go.
        load: loads the model's folder; called once per process and model.

    Raises:
        MemoryError: the batches are too large.
        ScoringRefused, EngineError: see `score_split`.
    """
    with _loaded_model(index, job, load) as (predict, batch_done, loaded):
        return replace(_score(_followed(batches, batch_done), index, job, predict), loaded=loaded)


@contextmanager
def _loaded_model(
    index: int, job: ScoreJob, load: Load
) -> Iterator[tuple[Callable[[Any], Any], Callable[[], None], bool]]:
    """Yields the model, what to call after each batch, and whether the model was loaded for this task.

    What the model prints meanwhile is captured, and its native threads are limited.
    """
    misses = _model.cache_info().misses
    with ExitStack() as stack:
        name = f"part-{index:05d}-{uuid.uuid4().hex[:12]}.txt"
        file = stack.enter_context(printed_file(job.folders, name))
        printed = stack.enter_context(capture_output(file, alone=job.alone))
        predict = _loaded(job, load)
        loaded = _model.cache_info().misses > misses
        if job.threads is not None:
            from threadpoolctl import threadpool_limits

            stack.enter_context(threadpool_limits(job.threads))
        yield predict, printed.trim, loaded


def _score(
    batches: Iterable[FilteredBatch],
    index: int,
    job: ScoreJob,
    predict: Callable[[Any], Any],
    *,
    source: str = "",
) -> SplitResult:
    """Scores batches and writes them to staging.

    Args:
        batches: the rows.
        index: the task's number.
        job: the scoring spec and where the files go.
        predict: the model.
        source: the file of batches that do not name theirs.
    """
    name = f"part-{index:05d}-{uuid.uuid4().hex[:12]}.parquet"
    folders, spec = job.folders, job.spec
    with (
        PartFile(folders.scored, name, folders.storage, durable=job.durable) as scored,
        PartFile(folders.quarantine, name, folders.storage, durable=job.durable) as quarantine,
    ):
        counts = score_batches(
            batches,
            spec,
            predict,
            source=source,
            writers=Writers(scored.write, quarantine.write),
        )
    # NOTE: quarantined rows are written as their file holds them, so their keys are cast once more.
    casts = {key: spec.casts[key] for key in spec.keys if key in spec.casts}
    with plain_store_errors(folders.scored):
        keys_out = _file_keys(scored, spec.keys, {}) + _file_keys(quarantine, spec.keys, casts)
    return SplitResult(
        index=index,
        scored=scored.written(),
        quarantine=quarantine.written(),
        rows_in=counts.rows_in,
        keys_in=counts.keys_in,
        keys_out=keys_out & MASK,
        quarantined=counts.quarantined,
        profile=counts.profile,
        loaded=False,
        worker=f"{socket.gethostname()}:{os.getpid()}",
        keys=write_hashes(folders, name, counts.hashes),
        findings=counts.findings,
        rows_left_out=counts.rows_left_out,
        casts=counts.casts,
    )


def _followed(batches: Iterable[FilteredBatch], batch_done: Callable[[], None]) -> Iterator[FilteredBatch]:
    """Yields the batches, and calls ``batch_done`` after each was scored."""
    for batch in batches:
        yield batch
        batch_done()


def _loaded(job: ScoreJob, load: Load) -> Callable[[Any], Any]:
    try:
        return _model(job.model_folder, job.model_digest, load)
    except BatchdeployError:
        raise
    except Exception as error:
        what = Problem("loading the model", "failed", f"{type(error).__name__}: {error}")
        where = f"model version {job.spec.model_version}"
        # A missing package, file or memory is no fault of the model, and a retry may succeed.
        if isinstance(error, (ImportError, OSError, MemoryError)):
            hint = "install the model's requirements" if isinstance(error, ImportError) else None
            raise EngineError(where, (what,), hint=hint) from error
        raise ScoringRefused(where, (what,), hint="log and register the model again") from error


@lru_cache(maxsize=2)
def _model(
    folder: str,
    digest: str,  # noqa: ARG001
    load: Load,
) -> Callable[[Any], Any]:
    """The model, loaded once per worker process. The digest is part of the key: a folder may change."""
    return load(folder)


def _file_keys(part: PartFile, keys: Sequence[str], casts: Casts) -> int:
    """The sum of the hashes of the keys that a file holds; 0 if it was not written."""
    if part.empty:
        return 0
    with part.open() as source, pq.ParquetFile(source, page_checksum_verification=True) as file:
        batches = (cast_batch(batch, casts).batch for batch in file.iter_batches(columns=list(keys)))
        return sum(sum_hashes(hash_keys(batch)) for batch in batches)
