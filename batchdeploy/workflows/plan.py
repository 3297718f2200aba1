"""Plans a run of a partition without executing it."""

from __future__ import annotations

from batchdeploy.core.deployment import ModelRef
from batchdeploy.core.records import Plan
from batchdeploy.stages.resolve import resolve
from batchdeploy.workflows import timing
from batchdeploy.workflows.toolbox import Toolbox


def plan(tools: Toolbox, partition: str, model: ModelRef | None = None, *, evolve: bool = False) -> Plan:
    """Plans one partition; writes nothing.

    Args:
        tools: the deployment's toolbox.
        partition: the partition's value.
        model: replaces the deployed model.
        evolve: allows a change of the table's model name or columns.
    """
    pin = None if model is None else tools.registry.resolve(model)
    at = timing.now().isoformat()
    return resolve(tools.deployment, partition, tools.to_resolve(), now=at, model=pin, evolve=evolve)


def replan(tools: Toolbox, planned: Plan) -> Plan:
    """Plans again with the current rows, suite and reference, and with the pinned model."""
    at = timing.now().isoformat()
    return resolve(
        tools.deployment,
        planned.partition,
        tools.to_resolve(),
        now=at,
        model=planned.model,
        evolve=planned.evolve,
    )
