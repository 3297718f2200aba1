"""Work as records: what travels to a worker and back."""

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

# NOTE: more rows at once are no quicker; and a copy or two of this many bytes a worker has room for.
MAX_ROWS, MIN_ROWS, BATCH_BYTES = 65_536, 1024, 64 * 2**20
TEXT_BYTES, VALUE_BYTES = 64, 8


def batch_rows(inputs: Sequence[Column]) -> int:
    """How many rows a model is asked about at once: fewer where it has many inputs, to bound memory."""
    width = sum(TEXT_BYTES if column.type in ("string", "binary") else VALUE_BYTES for column in inputs)
    return max(MIN_ROWS, min(MAX_ROWS, BATCH_BYTES // max(1, width)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A piece of work: some row groups of one input file.

    Attributes:
        md5, identity: of the file, as it was pinned.
        first_row: counts from the file's start.
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
    """All a worker needs to know besides its split; small and picklable.

    Attributes:
        bins: the reference's columns with their counts at zero; what the kernel counts into.
        max_failures: rows of one batch whose prediction may fail before the run is refused.
        where: which rows are meant.
        policy: what becomes of rows that are not as they should be.
        durable: whether files are flushed to the disk.
        alone: whether workers are processes that do nothing else.
        threads: native threads a worker may use, or None for as many as there are.
        batch_rows: rows that the model is asked about at once.
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
    """What became of one split; a file is null where it would hold no row.

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
