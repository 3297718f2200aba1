"""A range of partitions: a plan for each that has rows, and the name of each that should have and has not."""

from __future__ import annotations

from dataclasses import dataclass

from batchdeploy.core.deployment import ModelRef, OnMissing
from batchdeploy.core.pins import check_partition
from batchdeploy.core.records import ModelPin, Plan
from batchdeploy.core.schedule import expected
from batchdeploy.errors import PartitionError, Problem
from batchdeploy.stages.resolve import resolve
from batchdeploy.workflows import timing
from batchdeploy.workflows.model_policy import model_policy
from batchdeploy.workflows.toolbox import Toolbox
from batchdeploy.workflows.wait_for_rows import wait_for_rows

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

    return wait_for_rows(tools, lambda: _plan_all(tools, bounds, pin, policy, evolve=evolve), policy)


def _plan_all(
    tools: Toolbox, bounds: tuple[str, str], model: ModelPin, policy: OnMissing, *, evolve: bool
) -> PlannedRange:
    spec = tools.deployment.data.partition
    plans: list[Plan] = []
    missing: dict[str, PartitionError] = {}
    ports = tools.to_resolve()
    for partition in partitions_in(tools, bounds):
        try:
            at = timing.now().isoformat()
            plans.append(resolve(tools.deployment, partition, ports, now=at, model=model, evolve=evolve))
        except PartitionError as error:
            missing[partition] = error
    if missing and policy != "skip":
        problems = tuple(Problem(spec.folder(name), _why(error)) for name, error in missing.items())
        raise PartitionError(tools.deployment.data.path, problems, hint=f"bring the rows, {SKIP}")
    return PlannedRange(tuple(plans), tuple(missing))


def partitions_in(tools: Toolbox, bounds: tuple[str, str]) -> tuple[str, ...]:
    """The partitions of a range, in order: those that are there, and those that the calendar expects.

    Raises:
        PartitionError: not one of them is there.
    """
    first, last = bounds
    spec = tools.deployment.data.partition
    if first > last:
        raise PartitionError("the request", (Problem(spec.column, f"--from lies after --to, {last}", first),))
    known = tools.source.partitions(tools.deployment.data)
    existing = {partition for partition in known if first <= partition <= last}
    if not existing:
        raise PartitionError(
            tools.deployment.data.path,
            (Problem(spec.column, "no partition in this range", f"{first} to {last}"),),
            hint=f"there are {len(known)} from {known[0]} to {known[-1]}",
        )
    return tuple(sorted(existing | set(expected(first, last, spec))))


def _why(error: PartitionError) -> str:
    return f"is expected by the calendar, and has no rows ({error.problems[0].problem})"
