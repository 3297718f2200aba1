"""Plans a range of partitions, and finds those that the calendar expects but that have no rows."""

from __future__ import annotations

from dataclasses import dataclass

from batchdeploy.core.deployment import ModelRef, OnMissing
from batchdeploy.core.partitions import known_hint
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
    """The plans of a backfill.

    Attributes:
        plans: one per partition with rows, in order.
        missing: the partitions that the calendar expects but that have no rows, in order.
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
    """Plans each partition from first to last, both included; pins the model once.

    All partitions are planned before any is executed, so a range with a bad partition is refused with nothing
    written. The calendar determines the expected partitions. If one has no rows, ``on_missing`` decides
    whether the range fails, skips it, or waits for it.

    Args:
        tools: the deployment's toolbox.
        bounds: first and last partition.
        model: the model to use; by default ``backfill.model``, else the deployed model.
        evolve: allows a change of the table's model name or columns.
        on_missing: overrides the deployment's ``data.on_missing``.

    Raises:
        PartitionError: the range has no partition, or one is missing and ``on_missing`` is ``fail``.
        RequestError: a partition cannot be scored.
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
    """The partitions of a range, in order: those with rows, and those that the calendar expects.

    Raises:
        PartitionError: none of them has rows.
    """
    first, last = bounds
    spec = tools.deployment.data.partition
    if first > last:
        raise PartitionError("the request", (Problem(spec.column, f"--from is after --to, {last}", first),))
    known = tools.source.partitions(tools.deployment.data)
    existing = {partition for partition in known if first <= partition <= last}
    if not existing:
        raise PartitionError(
            tools.deployment.data.path,
            (Problem(spec.column, "no partition in this range", f"{first} to {last}"),),
            hint=known_hint(known),
        )
    return tuple(sorted(existing | set(expected(first, last, spec))))


def _why(error: PartitionError) -> str:
    return f"is expected by the calendar, and has no rows ({error.problems[0].problem})"
