"""Collects the runs of a backfill for a notebook."""

from __future__ import annotations

from collections.abc import Callable

from batchdeploy.errors import BatchdeployError
from batchdeploy.notebook.run import Run
from batchdeploy.workflows import timing
from batchdeploy.workflows.plan_range import PlannedRange
from batchdeploy.workflows.run import Outcome


class CollectedRuns:
    """Collects a backfill's outcomes as runs, and calls a callback with each run as it ends."""

    def __init__(self, to_run: Callable[[Outcome], Run], done: Callable[[Run], None] | None) -> None:
        self.runs: list[Run] = []
        self._to_run = to_run
        self._done = done

    def planned(self, plans: PlannedRange) -> None:
        """Does nothing."""

    def begin(self, partition: str) -> timing.Progress:  # noqa: ARG002
        """Returns a no-op progress callback."""
        return timing.no_progress

    def end(self, outcome: Outcome | BatchdeployError) -> None:
        """Collects a published run."""
        if isinstance(outcome, BatchdeployError):
            return
        self.runs.append(self._to_run(outcome))
        if self._done is not None:
            self._done(self.runs[-1])
