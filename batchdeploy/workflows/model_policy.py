"""Parses the option that replaces the deployed model."""

from __future__ import annotations

from dataclasses import replace

from batchdeploy.core.deployment import ModelRef
from batchdeploy.errors import Problem, RequestError
from batchdeploy.workflows.toolbox import Toolbox

SPELLINGS = "an alias (champion, @champion or NAME@champion) or a version number"


def model_policy(tools: Toolbox, policy: str | int | None) -> ModelRef:
    """The model ref that a policy names: an alias or a version of the deployed model; None means as deployed.

    Args:
        tools: the deployment's toolbox.
        policy: ``champion``, ``@champion``, ``NAME@champion``, or a version number.

    Raises:
        RequestError: the policy names no alias, or another registered model.
    """
    ref = tools.deployment.model
    if policy is None:
        return ref
    if str(policy).isdecimal():
        return replace(ref, alias=None, version=int(policy))
    if policy == "as-of":
        raise RequestError(
            "the model policy", "as-of needs a ledger of alias moves, which this version does not keep"
        )
    name, at, alias = str(policy).rpartition("@")
    if not alias:
        problem = Problem("model", "names no alias", repr(policy))
        raise RequestError("the model policy", (problem,), hint=f"give {SPELLINGS}")
    if at and name not in ("", ref.name):
        problem = Problem("model", f"the deployment scores with {ref.name}", name)
        raise RequestError("the model policy", (problem,), hint=f"give {SPELLINGS} of {ref.name}")
    return replace(ref, alias=alias, version=None)
