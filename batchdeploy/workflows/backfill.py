"""A range of partitions: a plan for each that has rows, and the name of each that should have and has not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from batchdeploy.core.deployment import ModelRef, OnMissing
from batchdeploy.core.pins import check_partition
from batchdeploy.core.records import Plan
from batchdeploy.core.schedule import expected
from batchdeploy.errors import BatchdeployError, GateRefused, PartitionError, Problem
from batchdeploy.ports import Toolbox
from batchdeploy.stages.resolve import resolve
from batchdeploy.workflows.execution import Outcome, execute, now
from batchdeploy.workflows.model_policy import model_policy
from batchdeploy.workflows.stage_clock import Progress
from batchdeploy.workflows.waiting import when_there

SKIP = "or go on without them: --on-missing skip, on_missing='skip', or data.on_missing in the deployment"


@dataclass(frozen=True, slots=True)
class PlannedRange:
    """What a backfill would do.

    Attributes:
        plans: one for each partition with rows, in order.
        missing: the partitions that the calendar expects and that have no rows, in order.
    """

    plans: tuple[Plan, ...]
    missing: tuple[str, ...]


@contextmanager
def missing_policy(tools: Toolbox, on_missing: OnMissing | None) -> Iterator[OnMissing]:
    """Yields what a run does where its partition has no rows; what is given goes over the deployment's."""
    before = tools.deployment
    policy = on_missing or before.data.on_missing
    tools.deployment = replace(before, data=replace(before.data, on_missing=policy))
    try:
        yield policy
    finally:
        tools.deployment = before


def plan_range(
    tools: Toolbox,
    bounds: tuple[str, str],
    model: ModelRef | None = None,
    *,
    evolve: bool = False,
    on_missing: OnMissing | None = None,
) -> PlannedRange:
    """A plan for each partition from first to last, both included; the model is pinned once.

    All of them before any is executed: a range with a bad partition is refused with nothing written. Which
    partitions there should be is the calendar's word; those without rows fail the range, are skipped, or are
    waited for, by ``on_missing``.

    Args:
        tools: what answers for the deployment.
        bounds: first and last partition.
        model: the model; else that of the deployment's ``backfill.model``, else the deployed one.
        evolve: lets the table get another model's scores, or other columns, than it has.
        on_missing: in place of the deployment's ``data.on_missing``.

    Raises:
        PartitionError: no partition in the range, or one that is missing where that fails.
        RequestError: one that cannot be scored.
    """
    spec = tools.deployment.data.partition
    for bound in bounds:
        check_partition(spec.column, bound, spec.format)
    policy = on_missing or tools.deployment.data.on_missing
    pin = tools.registry.resolve(model or model_policy(tools, tools.deployment.backfill.model))

    def look() -> PlannedRange:
        found: dict[str, Plan | PartitionError] = {}
        for partition in wanted(tools, bounds):
            try:
                at = now().isoformat()
                found[partition] = resolve(tools, partition, now=at, model=pin, evolve=evolve)
            except PartitionError as error:
                found[partition] = error
        missing = {name: plan for name, plan in found.items() if isinstance(plan, PartitionError)}
        if missing and policy != "skip":
            problems = tuple(Problem(spec.folder(name), _why(error)) for name, error in missing.items())
            raise PartitionError(tools.deployment.data.path, problems, hint=f"bring the rows, {SKIP}")
        plans = tuple(plan for plan in found.values() if isinstance(plan, Plan))
        return PlannedRange(plans, tuple(missing))

    return when_there(tools, partial(look), policy)


def execute_range(
    tools: Toolbox, plans: Sequence[Plan], progress: Callable[[str], Progress]
) -> Iterator[tuple[str, Outcome | BatchdeployError]]:
    """Executes plans in order; gives each partition with its outcome, or with what became of it instead.

    A partition that a gate refuses does not stop the others. Anything else that fails is the last.

    Args:
        tools: what answers for the deployment.
        plans: of `plan_range`.
        progress: a partition to who watches it.
    """
    for planned in plans:
        try:
            ended: Outcome | BatchdeployError = execute(tools, planned, progress=progress(planned.partition))
        except BatchdeployError as error:
            ended = error
        yield planned.partition, ended
        if isinstance(ended, BatchdeployError) and not isinstance(ended, GateRefused):
            return


def wanted(tools: Toolbox, bounds: tuple[str, str]) -> tuple[str, ...]:
    """The partitions of a range, in order: those that are there, and those that the calendar expects.

    Raises:
        PartitionError: not one of them is there.
    """
    first, last = bounds
    spec = tools.deployment.data.partition
    if first > last:
        raise PartitionError("the request", (Problem(spec.column, f"--from lies after --to, {last}", first),))
    known = tools.store.partitions(tools.deployment.data)
    there = {partition for partition in known if first <= partition <= last}
    if not there:
        raise PartitionError(
            tools.deployment.data.path,
            (Problem(spec.column, "no partition in this range", f"{first} to {last}"),),
            hint=f"there are {len(known)} from {known[0]} to {known[-1]}",
        )
    return tuple(sorted(there | set(expected(first, last, spec))))


def _why(error: PartitionError) -> str:
    return f"is expected by the calendar, and has no rows ({error.problems[0].problem})"
