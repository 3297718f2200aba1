"""A protocol for each thing that a run does with the published table and with the folder beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from batchdeploy.core.maintenance import CleanupReport
from batchdeploy.core.records import DriftReport, OutputFile, Plan, ScoredBatch
from batchdeploy.core.tables import TableRecord
from batchdeploy.core.work import SplitResult


class Staging(Protocol):
    """Where scores lie until they are published: a private folder for each attempt."""

    def stage(self, run_id: str) -> Path:
        """A new private staging folder; its name is the attempt's."""
        ...

    def collect(
        self, attempt: Path, run_id: str, results: Sequence[SplitResult]
    ) -> tuple[tuple[OutputFile, ...], tuple[OutputFile, ...]]:
        """The workers' files under their final names: (scored, quarantine)."""
        ...

    def staged(self, scored: ScoredBatch) -> Any:
        """The scores in staging as a pandas frame."""
        ...

    def discard(self, attempt: str) -> None:
        """Removes an attempt's staging folder, unless it is decided that it will be published."""
        ...

    def hand_over(self, attempt: str) -> None:
        """Lets another process go on with an attempt after this one has ended."""
        ...


class PublishedTable(Protocol):
    """What is published, for reading."""

    def published_run(self, folder: str) -> str | None:
        """The run whose scores are visible in a partition's folder, or None."""
        ...

    def published_partitions(self) -> tuple[str, ...]:
        """The folder names of all partitions that are visible, sorted."""
        ...

    def files(self, folder: str) -> tuple[str, ...]:
        """Where a partition's visible files are: paths or URIs."""
        ...

    def attempt_of(self, folder: str) -> str | None:
        """What tells a partition's visible files from those of any other attempt at the same run."""
        ...

    def generations(self, folder: str) -> tuple[str, ...]:
        """The run ids of a partition's earlier generations, the last published first."""
        ...

    def record(self) -> TableRecord | None:
        """Whose table it is and what its rows hold; None where nothing is published."""
        ...


class Publisher(Protocol):
    """What changes which scores are visible, each time in one atomic step."""

    def publish(self, plan: Plan, scored: ScoredBatch, manifest: Callable[[], tuple[str, str]]) -> str:
        """Makes staged scores visible, atomically; gives the manifest's JSON."""
        ...

    def roll_back(self, folder: str, *, to: str | None, expected_run: str | None, at: str) -> str:
        """Makes an earlier generation the visible one again; gives its run id."""
        ...


class Claims(Protocol):
    """Whose turn a partition is, where the steps of a run are separate processes."""

    def claim(self, folder: str, holder: str, *, expected_holder: str | None = None) -> str:
        """Takes a partition for one run; gives who holds it then."""
        ...

    def release(self, folder: str, holder: str) -> None:
        """Gives a claimed partition back."""
        ...


class Maintenance(Protocol):
    """What keeps a table tidy and finishes what was left unfinished."""

    def recover(self, *, now: float) -> CleanupReport:
        """Finishes what killed runs had decided, and removes what they left."""
        ...

    def collect_garbage(self, *, now: float) -> CleanupReport:
        """All of `recover`, and everything beyond the retention."""
        ...


class Evidence(Protocol):
    """The files that say what an attempt did, beside its records."""

    def begin_evidence(self, plan: Plan) -> None:
        """Has the run's folder show the evidence of a new attempt, unless the run was published."""
        ...

    def update_evidence(self, plan: Plan) -> None:
        """Has the run's folder show all that an attempt has by now, where it shows that attempt's."""
        ...

    def keep_output(self, plan: Plan, attempt: str) -> None:
        """Keeps what the model printed with the run's records."""
        ...

    def keep_quarantine(self, plan: Plan, attempt: str) -> None:
        """Keeps the rows that a refused attempt quarantined."""
        ...

    def write_drift(self, plan: Plan, report: DriftReport) -> None:
        """Writes the attempt's rows of the drift table."""
        ...
