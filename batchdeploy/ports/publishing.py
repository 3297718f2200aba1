"""Protocols for the published table and its control folder: staging, publishing, claims, maintenance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from batchdeploy.core.maintenance import CleanupReport
from batchdeploy.core.records import DriftReport, OutputFile, Plan, ScoredBatch
from batchdeploy.core.tables import TableRecord
from batchdeploy.core.work import AttemptFolders, SplitResult
from batchdeploy.errors import Problem


class Staging(Protocol):
    """Unpublished scores: folders of its own for each attempt, which no reader of the table looks into."""

    def stage(self, folder: str, run_id: str) -> AttemptFolders:
        """Begins a new attempt of a run and returns where its workers write.

        Args:
            folder: the partition's folder name.
            run_id: the run.
        """
        ...

    def collect(
        self, attempt: AttemptFolders, run_id: str, results: Sequence[SplitResult]
    ) -> tuple[tuple[OutputFile, ...], tuple[OutputFile, ...]]:
        """Removes the files that no result names and returns the others as (scored, quarantined)."""
        ...

    def staged(self, folder: str, scored: ScoredBatch) -> Any:
        """The scores of a partition in staging, as a pandas frame."""
        ...

    def discard(self, attempt: str) -> None:
        """Removes an attempt's files, unless it is or may be published."""
        ...

    def hand_over(self, attempt: str) -> None:
        """Releases an attempt's liveness lock, so that another process can continue it."""
        ...


class PublishedTable(Protocol):
    """The published table, read-only."""

    def published_run(self, folder: str) -> str | None:
        """The id of the run that is published in a partition's folder, or None."""
        ...

    def published_partitions(self) -> tuple[str, ...]:
        """The folder names of all published partitions, sorted."""
        ...

    def files(self, folder: str) -> tuple[str, ...]:
        """The paths or URIs of a partition's published files."""
        ...

    def file_problems(
        self, folder: str, run_id: str, files: Sequence[OutputFile], *, content: bool
    ) -> tuple[Problem, ...] | None:
        """How the files of a run differ from what it recorded; None where the table does not have the run.

        Args:
            folder: the partition's folder name.
            run_id: a run that is visible, or an earlier generation.
            files: what was recorded of its files.
            content: reads them and compares their SHA-256; else only their sizes are compared.
        """
        ...

    def attempt_of(self, folder: str) -> str | None:
        """The attempt that wrote a partition's published files, or None."""
        ...

    def generations(self, folder: str) -> tuple[str, ...]:
        """The run ids of a partition's earlier generations, newest first."""
        ...

    def record(self) -> TableRecord | None:
        """The table's owner and columns; None if nothing is published."""
        ...


class Publisher(Protocol):
    """Publishes and rolls back partitions, each in one atomic step."""

    def publish(self, plan: Plan, scored: ScoredBatch, manifest: Callable[[], tuple[str, str]]) -> str:
        """Publishes staged scores in one atomic step.

        Args:
            plan: its ``base_run`` is the fence: the run that must still be the published one.
            scored: the scores in staging.
            manifest: gives the manifest's JSON and the time of publishing.

        Returns:
            The manifest's JSON: this run's, or that of an earlier attempt with the same pins.

        Raises:
            StaleRunError: a run with other pins has published the partition since.
            TableError: the table is another deployment's, or has other columns.
        """
        ...

    def roll_back(self, folder: str, *, to: str | None, expected_run: str | None, at: str) -> str:
        """Publishes an earlier generation again in one atomic step, and returns its run id.

        Args:
            folder: the partition's folder name.
            to: the run to go back to; None for the one before.
            expected_run: the published run as the caller saw it: the fence.
            at: the time, ISO 8601.

        Raises:
            PartitionError: there is no such generation.
            StaleRunError: another run has published the partition since.
        """
        ...


class Claims(Protocol):
    """Claims on partitions, for runs whose steps are separate processes."""

    def claim(self, folder: str, holder: str, *, expected_holder: str | None = None) -> str:
        """Claims a partition for ``holder`` and returns its current holder, who may be another."""
        ...

    def release(self, folder: str, holder: str) -> None:
        """Releases the holder's claim on a partition."""
        ...


class Maintenance(Protocol):
    """Recovery and clean-up of a table."""

    def recover(self, *, now: float) -> CleanupReport:
        """Completes publishes of killed runs and removes their leftovers."""
        ...

    def collect_garbage(self, *, now: float) -> CleanupReport:
        """Does what `recover` does, and removes everything past its retention."""
        ...


class Evidence(Protocol):
    """The evidence of an attempt besides its records: model output, quarantine, drift rows."""

    def begin_evidence(self, plan: Plan) -> None:
        """Replaces the evidence in the run's folder by a new attempt's, unless the run is published."""
        ...

    def update_evidence(self, plan: Plan) -> None:
        """Copies an attempt's new evidence to the run's folder, if the folder shows that attempt."""
        ...

    def keep_output(self, plan: Plan, attempt: str) -> None:
        """Stores the model's printed output with the run's records."""
        ...

    def keep_quarantine(self, plan: Plan, attempt: str) -> None:
        """Stores the quarantined rows of a refused attempt."""
        ...

    def write_drift(self, plan: Plan, report: DriftReport) -> None:
        """Writes the attempt's rows to the drift table."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TableAccess:
    """The publishing ports of one table and its control folder."""

    staging: Staging
    table: PublishedTable
    publisher: Publisher
    claims: Claims
    maintenance: Maintenance
    evidence: Evidence
