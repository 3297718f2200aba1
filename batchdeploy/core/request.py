"""Requests of an orchestrator for single steps of a run, and their answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from batchdeploy.core import FORBID_UNKNOWN

Step = Literal[
    "plan",
    "validate",
    "score",
    "drift",
    "publish",
    "run",
    "compare_models",
    "promote",
    "rollback",
    "recover",
    "collect_garbage",
]
Answer = dict[str, Any]
LATEST = "latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The decision about a comparison; ``by`` is null for an automatic one."""

    __pydantic_config__ = FORBID_UNKNOWN
    approved: bool
    by: str | None = None
    at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRequest:
    """A request for one step of a run.

    Attributes:
        step: one step, or ``run`` for all of them; ``compare_models`` compares two models on a partition, and
            ``promote`` moves the alias as a comparison says.
        partition: for ``plan``, ``run`` and ``rollback``: the partition's value; for the first two also
            ``latest``, the newest.
        model: an alias or a version that overrides the deployed model.
        repeat: scores again even if the same pins are published already.
        evolve: allows the run to change the table's model or columns.
        folder: for the other steps: the run's folder (for ``promote``: the comparison's file), from the
            answer of the step before.
        host: the machine whose step gave that folder, for messages.
        is_retry: whether this step ran before, so that rows or the suite may have been fixed since.
        since: for ``run`` as a retry: when the orchestrator's run began (ISO 8601). Scores that the run's
            earlier try published since then count as done by this one.
        holder: the orchestrator's run that claims the partition; one run at a time works on a partition.
        expected_holder: an ended run whose claim may be taken over.
        to: for ``rollback``: the id of the run to go back to; None for the one before.
        decision: for ``promote``: the decision and its author.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    step: Step
    partition: str | None = None
    model: str | None = None
    repeat: bool = False
    evolve: bool = False
    folder: str | None = None
    host: str | None = None
    is_retry: bool = False
    since: str | None = None
    holder: str | None = None
    expected_holder: str | None = None
    to: str | None = None
    decision: Decision | None = None
