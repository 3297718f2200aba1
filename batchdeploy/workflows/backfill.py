"""Runs many partitions in one engine session; skips identical ones, so that a backfill can be resumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from batchdeploy.core.deployment import ModelRef, OnMissing, PartitionSpec
from batchdeploy.errors import BackfillRefused, BatchdeployError, GateRefused, Problem
from batchdeploy.workflows.maintenance import recover
from batchdeploy.workflows.plan_range import PlannedRange, plan_range
from batchdeploy.workflows.run import Outcome, execute
from batchdeploy.workflows.timing import Progress, StageClock, no_progress
from batchdeploy.workflows.toolbox import Toolbox


class Watcher(Protocol):
    """Receives the progress of a backfill."""

    def planned(self, plans: PlannedRange) -> None:
        """Called when the range is planned."""
        ...

    def begin(self, partition: str) -> Progress:
        """Called when a partition begins; returns the progress callback for its stages."""
        ...

    def end(self, outcome: Outcome | BatchdeployError) -> None:
        """Called when the partition ended."""
        ...


class NoWatcher:
    """No-op `Watcher`."""

    def planned(self, plans: PlannedRange) -> None:
        """Does nothing."""

    def begin(self, partition: str) -> Progress:  # noqa: ARG002
        """Returns a no-op progress callback."""
        return no_progress

    def end(self, outcome: Outcome | BatchdeployError) -> None:
        """Does nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillResult:
    """The result of a backfill.

    Attributes:
        spec: the partition column.
        outcomes: the outcomes of published partitions, in order.
        failures: (partition, error) of the others, in order. All but the last are refusals by gates.
        missing: partitions that the calendar expects but that have no rows.
    """

    spec: PartitionSpec
    outcomes: tuple[Outcome, ...]
    failures: tuple[tuple[str, BatchdeployError], ...]
    missing: tuple[str, ...]

    @property
    def error(self) -> BatchdeployError | None:
        """The error that ended it early, else `BackfillRefused` if gates refused partitions, else None."""
        refusals = {name: error for name, error in self.failures if isinstance(error, GateRefused)}
        if len(refusals) < len(self.failures):
            return self.failures[-1][1]
        if not refusals:
            return None
        problems = tuple(
            Problem(self.spec.folder(name), str(error.problems[0])) for name, error in refusals.items()
        )
        where = f"a backfill of {len(refusals) + len(self.outcomes)} partitions"
        hint = "the others are published; the error's refusals has each of these, with run_id and report"
        refused = BackfillRefused(where, problems, hint=hint)
        refused.refusals, refused.runs = refusals, self.outcomes
        return refused


def backfill(
    tools: Toolbox,
    bounds: tuple[str, str],
    *,
    model: ModelRef | None = None,
    evolve: bool = False,
    on_missing: OnMissing | None = None,
    watcher: Watcher | None = None,
) -> BackfillResult:
    """Plans every partition of a range, then executes the plans in order.

    A refusal by a gate does not stop the other partitions; any other failure ends the backfill. Published
    partitions stay published, and a repeated backfill continues after them.

    Args:
        tools: the deployment's toolbox.
        bounds: first and last partition, both included.
        model: the model to use; see `plan_range`.
        evolve: allows a change of the table's model name or columns.
        on_missing: overrides the deployment's ``data.on_missing``.
        watcher: receives the progress.

    Raises:
        RequestError: the range or one of its partitions cannot be scored; nothing was executed.
    """
    watcher = watcher or NoWatcher()
    recover(tools)
    found = plan_range(tools, bounds, model, evolve=evolve, on_missing=on_missing)
    watcher.planned(found)
    outcomes: list[Outcome] = []
    failures: list[tuple[str, BatchdeployError]] = []
    for planned in found.plans:
        try:
            ended: Outcome | BatchdeployError = execute(
                tools, planned, clock=StageClock(watcher.begin(planned.partition))
            )
        except BatchdeployError as error:
            ended = error
        watcher.end(ended)
        if not isinstance(ended, BatchdeployError):
            outcomes.append(ended)
            continue
        failures.append((planned.partition, ended))
        if not isinstance(ended, GateRefused):
            break
    return BackfillResult(
        spec=tools.deployment.data.partition,
        outcomes=tuple(outcomes),
        failures=tuple(failures),
        missing=found.missing,
    )
