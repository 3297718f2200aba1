"""Work for the workers as records: splits, jobs and their results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from batchdeploy.core.deployment import OutputColumn
from batchdeploy.core.pins import Identity
from batchdeploy.core.policy import PolicySpec, PolicyViolation
from batchdeploy.core.predicates import Predicate
from batchdeploy.core.profiles import ColumnProfile
from batchdeploy.core.records import Column, OutputFile, QuarantinedRows, Returns

# Larger batches are not faster; BATCH_BYTES bounds the memory of a worker's one or two copies of a batch.
MAX_ROWS, MIN_ROWS, BATCH_BYTES = 65_536, 1024, 64 * 2**20
TEXT_BYTES, VALUE_BYTES = 64, 8


def batch_rows(inputs: Sequence[Column]) -> int:
    """How many rows the model predicts per call: fewer for many inputs, to bound memory."""
    width = sum(TEXT_BYTES if column.type in ("string", "binary") else VALUE_BYTES for column in inputs)
    return max(MIN_ROWS, min(MAX_ROWS, BATCH_BYTES // max(1, width)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A piece of work for one task: some row groups of one input file.

    Attributes:
        md5, identity: of the pinned file.
        first_row: the row number of its first row in the file.
        duplicates: rows whose keys another row of the partition has as well, counted from the split's start
            among those that are meant.
    """

    index: int
    path: str
    location: str
    row_groups: tuple[int, ...]
    first_row: int
    rows: int
    duplicates: tuple[int, ...] = ()
    md5: str = ""
    identity: Identity | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreJob:
    """Everything a worker needs besides its split; small and picklable.

    Attributes:
        bins: the reference's columns with counts at zero, for the kernel to count into.
        max_failures: rows of one batch whose prediction may fail before the run is refused.
        where: which rows are meant.
        policy: the row policy.
        durable: whether files are flushed to the disk.
        alone: whether workers are processes that do nothing else.
        threads: native threads per worker, or None for no limit.
        batch_rows: rows that the model predicts per call.
        returns: what the model's signature says of its answer.
        runtime_folder: what a model that is not native needs besides its folder, as workers find it.
    """

    model_folder: str
    model_digest: str
    model_version: int
    inputs: tuple[Column, ...]
    keys: tuple[str, ...]
    keep: tuple[str, ...]
    outputs: tuple[tuple[str, OutputColumn], ...]
    run_id: str
    scored_at_us: int
    staging: str
    bins: tuple[ColumnProfile, ...]
    max_failures: int
    where: tuple[Predicate, ...] = ()
    policy: PolicySpec = PolicySpec()
    durable: bool = True
    alone: bool = False
    threads: int | None = None
    runtime_folder: str | None = None
    batch_rows: int = MAX_ROWS
    returns: Returns = "unknown"


@dataclass(frozen=True, slots=True)
class LocatingLoader:
    """Loads models from where they are on this machine; equal where both functions are the same."""

    locate: Callable[[str], str]
    load: Callable[[str], Callable[[Any], Any]]

    def __call__(self, folder: str) -> Callable[[Any], Any]:
        """The model in what workers know as ``folder``."""
        return self.load(self.locate(folder))


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitResult:
    """The result of one split; a file is null if it would hold no rows.

    Attributes:
        rows_in: rows that are meant; ``rows_left_out`` are not.
        loaded: whether the model had to be loaded for it.
        worker: the host and process that did it.
        keys: the file in staging that holds the hash of each row's keys, in the order of the rows.
    """

    index: int
    scored: OutputFile | None
    quarantine: OutputFile | None
    rows_in: int
    keys_in: int
    keys_out: int
    quarantined: tuple[QuarantinedRows, ...]
    profile: tuple[ColumnProfile, ...]
    loaded: bool
    worker: str = ""
    keys: str = ""
    rows_left_out: int = 0
    findings: tuple[PolicyViolation, ...] = ()
