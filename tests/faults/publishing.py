"""Small runs for the trials; their rows are a function of the run id, so that any can be checked."""

from __future__ import annotations

import hashlib
import io
import json
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tests_support import plan as made_up_plan

from batchdeploy.core.deployment import PublishSpec
from batchdeploy.core.layout import Layout
from batchdeploy.core.locations import is_uri
from batchdeploy.core.records import OutputFile, Plan, ScoredBatch
from batchdeploy.core.work import AttemptFolders
from batchdeploy.ports import TableAccess
from batchdeploy.publishing.opening import open_swap_table
from batchdeploy.storage.interface import write
from batchdeploy.storage.opening import open_location
from faults.oracle import Content, content_of

FILES = 2
ROWS = 8


def run_name(number: int) -> str:
    """The run id of a number; ids do not sort as numbers do."""
    return hashlib.sha256(str(number).encode()).hexdigest()[:16]


def rows_of(folder: str, run: str) -> pa.Table:
    """The rows of a run, a function of its id."""
    seed = int(run[:8], 16) ^ hash_of(folder)
    count = ROWS + seed % 5
    return pa.table(
        {
            "id": pa.array(range(count), pa.int64()),
            "y": pa.array([((seed + 31 * i) % 1000) / 1000 for i in range(count)], pa.float64()),
            "_model_version": pa.array([1] * count, pa.int64()),
            "_run_id": pa.array([run] * count, pa.string()),
            "_scored_at": pa.array([0] * count, pa.timestamp("us", tz="UTC")),
        }
    )


def hash_of(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def expected(folder: str, run: str) -> Content:
    return content_of(rows_of(folder, run))


def swap_table(
    root: Path, *, durability: str = "process", keep: int = 2, seconds: float = 20, grace: float = 0
) -> TableAccess:
    """The table under trial."""
    spec = PublishSpec(
        durability=durability,  # type: ignore[arg-type]
        keep_generations=keep,
        lock_seconds=seconds,
        reader_seconds=grace,
    )
    return open_swap_table(Layout(root), spec)


def plan(folder: str, run: str, base_run: str | None) -> Plan:
    return replace(made_up_plan("a", None), run_id=run, partition=folder.partition("=")[2], base_run=base_run)


def stage(access: TableAccess, folder: str, run: str) -> ScoredBatch:
    """A run's files in staging, as workers and `collect` leave them."""
    attempt = access.staging.stage(folder, run)
    try:
        files = _write(attempt, folder, run)
    except BaseException:
        access.staging.discard(attempt.name)
        raise
    rows = sum(file.rows for file in files)
    return ScoredBatch(
        run_id=run,
        attempt=attempt.name,
        files=files,
        quarantine=(),
        rows_in=rows,
        rows_scored=rows,
        rows_quarantined=0,
        keys_in="0",
        keys_out="0",
        quarantined=(),
        profile=(),
        model_loads=1,
    )


def _write(attempt: AttemptFolders, folder: str, run: str) -> tuple[OutputFile, ...]:
    rows = rows_of(folder, run)
    half = len(rows) // FILES
    files = []
    for number in range(FILES):
        name = f"part-{number:05d}-{run}.parquet"
        part = rows.slice(number * half, half if number < FILES - 1 else None)
        content = parquet(part)
        put(attempt, name, content)
        digest = hashlib.sha256(content).hexdigest()
        files.append(OutputFile(path=name, rows=len(part), size=len(content), sha256=digest))
    return tuple(files)


def parquet(rows: pa.Table) -> bytes:
    made = io.BytesIO()
    pq.write_table(rows, made)
    return made.getvalue()


def put(attempt: AttemptFolders, name: str, content: bytes) -> None:
    """Stores a file of scored rows, as a worker does."""
    if is_uri(attempt.scored):
        write(open_location(attempt.scored, attempt.storage), name, content)
        return
    file = Path(attempt.scored, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def manifest(run: str, scored: ScoredBatch, stamp: str) -> tuple[str, str]:
    files = [{"path": f.path, "sha256": f.sha256} for f in scored.files]
    return json.dumps({"run_id": run, "published_at": stamp, "files": files}), stamp


def publish(access: TableAccess, folder: str, run: str, base_run: str | None, *, stamp: str = "") -> None:
    """Stages and publishes one run of one partition."""
    scored = stage(access, folder, run)
    stamp = stamp or f"{time.time_ns():020d}"
    try:
        access.publisher.publish(plan(folder, run, base_run), scored, lambda: manifest(run, scored, stamp))
    except BaseException:
        access.staging.discard(scored.attempt)
        raise
