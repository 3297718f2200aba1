"""Work for the workers as records: splits, jobs and their results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from batchdeploy.core.pins import Identity
from batchdeploy.core.policy import PolicyViolation
from batchdeploy.core.profiles import ColumnProfile
from batchdeploy.core.records import OutputFile, QuarantinedRows
from batchdeploy.core.scoring_spec import ScoringSpec


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
    """All that a worker needs to know besides its split; small and picklable.

    Attributes:
        spec: what to do with the rows.
        model_folder: the model, as workers find it; ``model_digest`` is that of its files.
        staging: the folder for what comes out.
        durable: whether files are flushed to the disk.
        alone: whether workers are processes that do nothing else.
        threads: native threads a worker may use, or None for as many as there are.
        runtime_folder: what a model that is not native needs besides its folder, as workers find it.
    """

    spec: ScoringSpec
    model_folder: str
    model_digest: str
    staging: str
    durable: bool = True
    alone: bool = False
    threads: int | None = None
    runtime_folder: str | None = None


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
