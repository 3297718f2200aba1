"""A range of partitions: a plan for each of them, before any is executed."""

from __future__ import annotations

from batchdeploy.core.deployment import ModelRef
from batchdeploy.core.pins import check_partition
from batchdeploy.core.records import Plan
from batchdeploy.errors import PartitionError, Problem
from batchdeploy.flow import now
from batchdeploy.model_policy import model_policy
from batchdeploy.ports import Toolbox
from batchdeploy.stages.resolve import resolve


def plan_range(
    tools: Toolbox, first: str, last: str, model: ModelRef | None = None, *, evolve: bool = False
) -> list[Plan]:
    """A plan for each partition there is from first to last, both included; the model is pinned once.

    Where no model is given, it is that of the deployment's ``backfill.model``, else the deployed one.
    All of them before any is executed: a range with a bad partition is refused with nothing written.

    Raises:
        RequestError: no partition in the range, or one that cannot be scored.
    """
    wanted = partitions_between(tools, first, last)
    pin = tools.registry.resolve(model or model_policy(tools, tools.deployment.backfill.model))
    return [
        resolve(tools, partition, now=now().isoformat(), model=pin, evolve=evolve) for partition in wanted
    ]


def partitions_between(tools: Toolbox, first: str, last: str) -> tuple[str, ...]:
    """The partitions there are from first to last, both included, in order."""
    spec = tools.deployment.data.partition
    for bound in (first, last):
        check_partition(spec.column, bound, spec.format)
    known = tools.store.partitions(tools.deployment.data)
    wanted = tuple(partition for partition in known if first <= partition <= last)
    if not wanted:
        raise PartitionError(
            tools.deployment.data.path,
            (Problem(spec.column, "no partition in this range", f"{first} to {last}"),),
            hint=f"there are {len(known)} from {known[0]} to {known[-1]}",
        )
    return wanted
