"""What every way of publishing shares: attempts, claims, and what lies beside the published table."""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchdeploy.core.deployment import PublishSpec
from batchdeploy.core.layout import OUTPUT, PRINTED, Layout
from batchdeploy.core.records import DriftReport, OutputFile, Plan, ScoredBatch
from batchdeploy.core.work import SplitResult
from batchdeploy.errors import PublishError
from batchdeploy.host.file_modes import restrict_tree
from batchdeploy.publishing.attempts import Attempts
from batchdeploy.publishing.drift_table import write_table
from batchdeploy.publishing.evidence import DRIFT, QUARANTINE, Standing
from batchdeploy.publishing.refusals import translated
from batchdeploy.redaction import redact
from batchdeploy.storage.files import Disk
from batchdeploy.storage.locking import locked

DEFAULT = PublishSpec()
STAND_SECONDS = 5.0
# NOTE: what is kept of all that a model printed in a run: of so many splits, so many bytes.
MOST_SPLITS, MOST_OUTPUT = 64, 2**18


class StagingSink:
    """The control folder of one table.

    Args:
        layout: the table's folders.
        spec: how to publish.
    """

    exchanging = True

    def __init__(self, layout: Layout, spec: PublishSpec = DEFAULT) -> None:
        self._layout = layout
        self._spec = spec
        self._disk = Disk(spec.durability == "power")
        self._attempts = Attempts(layout, self._disk, exchanging=self.exchanging)
        self._standing = Standing(layout, self._disk)

    def protect(self) -> None:
        """Makes the control folder where it is not there, and lets in whom ``publish.control_mode`` says.

        Nobody reaches what lies in a folder that he may not enter; the files that stay there are for the same
        people. What will be public, or was, is left alone, and so is what has another owner.
        """
        mode = int(self._spec.control_mode, 8)
        layout, control = self._layout, self._layout.control
        with suppress(OSError):
            control.mkdir(mode, parents=True, exist_ok=True)
            if stat.S_IMODE(control.stat().st_mode) != mode:
                control.chmod(mode)
                restrict_tree(control, besides=(layout.staging, layout.trash, layout.retirement))

    def stage(self, run_id: str) -> Path:
        """A new private staging folder; never one that an earlier attempt left.

        Raises:
            PublishError: the filesystem cannot exchange folders, so nothing could be published later.
        """
        self.protect()
        try:
            return self._attempts.begin(run_id)
        except OSError as error:
            raise translated(error, self._layout.staging) from error

    def hand_over(self, attempt: str) -> None:
        """Lets another process go on with an attempt after this one has ended."""
        self._attempts.hand_over(attempt)

    def collect(
        self, attempt: Path, run_id: str, results: Sequence[SplitResult]
    ) -> tuple[tuple[OutputFile, ...], tuple[OutputFile, ...]]:
        """Gives the workers' files their final names, and drops every file that no result names.

        Returns:
            (scored files, quarantine files), in the order of the input.
        """
        try:
            return self._attempts.collect(attempt, run_id, results)
        except OSError as error:
            raise translated(error, attempt) from error

    def discard(self, attempt: str) -> None:
        """Removes an attempt's staging folder, unless it is decided already that it will be published."""
        self._attempts.discard(attempt)

    def begin_evidence(self, plan: Plan) -> None:
        """Has the run's folder show the evidence of a new attempt, unless the run was published."""
        self.protect()
        self._stand(plan, self._standing.begin)

    def update_evidence(self, plan: Plan) -> None:
        """Has the run's folder show all that an attempt has by now, where it shows that attempt's."""
        self._stand(plan, self._standing.update)

    def _stand(self, plan: Plan, act: Callable[[str, str, str], None]) -> None:
        # NOTE: the attempt's own folder has all of it, whatever happens here.
        with (
            suppress(OSError, PublishError),
            locked(self._layout, min(STAND_SECONDS, self._spec.lock_seconds)),
        ):
            act(plan.folder, plan.run_id, plan.attempt)

    def write_drift(self, plan: Plan, report: DriftReport) -> None:
        """The attempt's rows of the drift table: one for each column and statistic."""
        file = self._layout.drift(plan.folder, plan.run_id)
        if plan.attempt:
            file = self._layout.attempt(plan.folder, plan.run_id, plan.attempt) / DRIFT
        try:
            write_table(file, plan, report)
        except OSError as error:
            raise translated(error, file) from error

    def staged(self, scored: ScoredBatch) -> Any:
        """The scores in staging as a pandas frame."""
        folder = self._layout.staging / scored.attempt / "scored"
        return pa.concat_tables(
            pq.read_table(folder / file.path, partitioning=None) for file in scored.files
        ).to_pandas()

    def keep_output(self, plan: Plan, attempt: str) -> None:
        """Puts what the model printed beside the attempt's records, where it has any."""
        source = self._layout.staging / attempt / PRINTED
        records = self._layout.attempt(plan.folder, plan.run_id, plan.attempt or attempt)
        # NOTE: evidence, and no part of the scores: whatever becomes of it does not stop the run.
        with suppress(OSError):
            text = b"".join(file.read_bytes() for file in sorted(source.iterdir())[:MOST_SPLITS])
            if records.is_dir():
                self._disk.write(records / OUTPUT, redact(text.decode("utf-8", "replace"))[:MOST_OUTPUT])

    def keep_quarantine(self, plan: Plan, attempt: str) -> None:
        """Keeps the rows that a refused attempt quarantined with its evidence; staging stays as it is.

        Raises:
            PublishError: the disk refused.
        """
        source = self._layout.staging / attempt / QUARANTINE
        target = self._layout.attempt(plan.folder, plan.run_id, plan.attempt or attempt) / QUARANTINE
        try:
            for file in sorted(source.iterdir()) if source.is_dir() else ():
                self._disk.place(file, target / file.name)
        except OSError as error:
            raise translated(error, target) from error

    def claim(self, folder: str, holder: str, *, expected_holder: str | None = None) -> str:
        """Takes a partition for a run whose steps are separate processes; gives who holds it then.

        Args:
            folder: the partition's folder name.
            holder: names the run, for whoever wants to know whether it is still at work.
            expected_holder: a holder that is known to have ended; only that one's claim is taken over.

        Raises:
            PublishError: the lock stayed taken, or the disk refused.
        """
        file = self._layout.claim(folder)
        self.protect()
        try:
            with locked(self._layout, self._spec.lock_seconds):
                current = file.read_text(encoding="utf-8") if file.is_file() else None
                if current is not None and current not in (holder, expected_holder):
                    return current
                if current != holder:
                    self._disk.write(file, holder)
                return holder
        except OSError as error:
            raise translated(error, file) from error

    def release(self, folder: str, holder: str) -> None:
        """Gives a partition back that this holder had claimed."""
        file = self._layout.claim(folder)
        try:
            with locked(self._layout, self._spec.lock_seconds):
                if file.is_file() and file.read_text(encoding="utf-8") == holder:
                    file.unlink()
        except OSError as error:
            raise translated(error, file) from error
