"""Work for the workers as records: splits, jobs and their results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from batchdeploy.core.casts import CastCount
from batchdeploy.core.pins import Identity, LookupPin, PartitionKey, PathColumn
from batchdeploy.core.policy import PolicyViolation
from batchdeploy.core.profiles import ColumnProfile
from batchdeploy.core.records import OutputFile, QuarantinedRows
from batchdeploy.core.scoring_spec import ScoringSpec
from batchdeploy.core.storage_spec import StorageSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A piece of work for one task: some row groups of one input file.

    Attributes:
        md5, size, identity, etag, version, modified: of the pinned file.
        first_row: the row number of its first row in the file.
        duplicates: rows with keys that occur again in the partition, numbered among the split's rows matching
            ``data.where``.
        storage: how to reach the store that holds the file.
        path_columns: the columns that the file's folders give to all of its rows.
        partition: the partition that is scored.
        selects: whether the file has rows of other partitions, which a column tells.
        lookups: the tables whose columns the rows get.
        checks: columns of the file that its folders give as well, and whose values may differ from theirs.
    """

    index: int
    path: str
    location: str
    row_groups: tuple[int, ...]
    first_row: int
    rows: int
    duplicates: tuple[int, ...] = ()
    md5: str = ""
    size: int = 0
    identity: Identity | None = None
    etag: str | None = None
    version: str | None = None
    modified: str | None = None
    storage: StorageSpec = StorageSpec()
    path_columns: tuple[PathColumn, ...] = ()
    partition: PartitionKey | None = None
    selects: bool = False
    checks: tuple[PathColumn, ...] = ()
    lookups: tuple[LookupPin, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFolders:
    """Where the workers of an attempt write their files: each a folder's path or a URI.

    Attributes:
        name: the attempt's name.
        scored: for files of scored rows.
        quarantine: for files of quarantined rows.
        scratch: for hashes of keys and for what the model prints; removed with the attempt.
        storage: how the store of the URIs is reached; holds no secret.
    """

    name: str
    scored: str
    quarantine: str
    scratch: str
    storage: StorageSpec = StorageSpec()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreJob:
    """Everything a worker needs besides its split; small and picklable.

    Attributes:
        spec: how to score the rows.
        model_folder: the model's folder, as seen by workers; ``model_digest`` is the digest of its files.
        folders: where the output files go.
        durable: whether files are flushed to the disk.
        alone: whether workers are processes that do nothing else.
        threads: native threads per worker, or None for no limit.
        runtime_folder: the folder of the accelerated model, as seen by workers; None for the native runtime.
        lookups_sent: of each file of a lookup that was sent to the workers, where it lies on the machine that
            plans, and its name for `Workers.locate`.
    """

    spec: ScoringSpec
    model_folder: str
    model_digest: str
    folders: AttemptFolders
    durable: bool = True
    alone: bool = False
    threads: int | None = None
    runtime_folder: str | None = None
    lookups_sent: tuple[tuple[str, str], ...] = ()


class WorkerProblem(NamedTuple):
    """What keeps a worker from reading or writing at a place.

    Attributes:
        kind: ``disk``: a folder that it does not see, or may not use; ``store``: an object store that refuses
            or fails; ``package``: a package that it lacks.
        place: the path or URI.
        problem: what went wrong, in words.
    """

    kind: Literal["disk", "store", "package"]
    place: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerCheck:
    """What each worker tries before the first task.

    Attributes:
        place: what is tried; workers that succeed need not try the same place again in one session.
        run: tries it on a worker; picklable.
    """

    place: str
    run: Callable[[], tuple[WorkerProblem, ...]]


class WorkerReport(NamedTuple):
    """What a worker host has: versions by package, and what it cannot use."""

    worker: str
    versions: Mapping[str, str]
    problems: tuple[WorkerProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class LocatingLoader:
    """Locates a model's folder on this machine and loads it; instances with equal functions are equal."""

    locate: Callable[[str], str]
    load: Callable[[str], Callable[[Any], Any]]

    def __call__(self, folder: str) -> Callable[[Any], Any]:
        """The loaded model of a folder, named as in the job."""
        return self.load(self.locate(folder))


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitResult:
    """The result of one split; a file is null if it would hold no rows.

    Attributes:
        rows_in: rows matching `where`; ``rows_left_out`` do not match.
        loaded: whether the model had to be loaded for it.
        worker: the host and process that did it.
        casts: what the declared casts did to the values.
        keys: the file in scratch that holds the hash of each row's keys, in the order of the rows.
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
    casts: tuple[CastCount, ...] = ()
