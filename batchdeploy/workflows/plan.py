"""Plans a run of a partition without executing it."""

from __future__ import annotations

from contextlib import suppress

from batchdeploy.core.deployment import ModelRef
from batchdeploy.core.records import ModelPin, Plan
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


def keep_model(tools: Toolbox, model: ModelPin) -> None:
    """Caches a model's files if planning had to download them, so that no later command downloads them again.

    For commands that end with a plan; a run does so once it has begun. Whoever may not write to the table
    can plan all the same.
    """
    with suppress(OSError):
        tools.fetcher.keep_download(model, tools.layout.models)


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
