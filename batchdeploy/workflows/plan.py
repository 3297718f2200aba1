"""What a run of a partition would do, before it does anything."""

from __future__ import annotations

from batchdeploy.core.deployment import ModelRef
from batchdeploy.core.records import Plan
from batchdeploy.stages.resolve import resolve
from batchdeploy.workflows import timing
from batchdeploy.workflows.toolbox import Toolbox


def plan(tools: Toolbox, partition: str, model: ModelRef | None = None, *, evolve: bool = False) -> Plan:
    """The plan of one partition; nothing is written.

    Args:
        tools: what answers for the deployment.
        partition: the partition's value.
        model: another model than the deployed one.
        evolve: lets the table get another model's scores, or other columns, than it has.
    """
    pin = None if model is None else tools.registry.resolve(model)
    at = timing.now().isoformat()
    return resolve(tools.deployment, partition, tools.to_resolve(), now=at, model=pin, evolve=evolve)


def replan(tools: Toolbox, planned: Plan) -> Plan:
    """The plan again, for rows, suite and reference as they are now; the model stays as it was pinned."""
    at = timing.now().isoformat()
    return resolve(
        tools.deployment,
        planned.partition,
        tools.to_resolve(),
        now=at,
        model=planned.model,
        evolve=planned.evolve,
    )
