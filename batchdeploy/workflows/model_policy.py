"""Which model a run takes instead of the deployed one."""

from __future__ import annotations

from dataclasses import replace

from batchdeploy.core.deployment import ModelRef
from batchdeploy.errors import RequestError
from batchdeploy.workflows.toolbox import Toolbox


def model_policy(tools: Toolbox, policy: str | int | None) -> ModelRef:
    """Which model a run takes: ``champion`` (any alias) or a version number; None as deployed."""
    ref = tools.deployment.model
    if policy is None:
        return ref
    if str(policy).isdigit():
        return replace(ref, alias=None, version=int(policy))
    if policy == "as-of":
        raise RequestError(
            "the model policy", "as-of needs a ledger of alias moves, which this version does not keep"
        )
    return replace(ref, alias=str(policy), version=None)
