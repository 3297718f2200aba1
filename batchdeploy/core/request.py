"""What an orchestrator asks for, one step of a run at a time, and what it is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from batchdeploy.core import FORBID_UNKNOWN

Step = Literal["plan", "validate", "score", "drift", "publish", "run", "compare_models", "promote"]
Answer = dict[str, Any]
LATEST = "latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What somebody decided about a comparison; ``by`` is null where nobody was asked."""

    __pydantic_config__ = FORBID_UNKNOWN
    approved: bool
    by: str | None = None
    at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRequest:
    """What an orchestrator asks for.

    Attributes:
        step: one step, or ``run`` for all of them; ``compare_models`` compares two models on a partition, and
            ``promote`` moves the alias as a comparison says.
        partition: for ``plan`` and ``run``: the partition's value, or ``latest`` for the newest there is.
        model: an alias or a version instead of the deployed model.
        repeat: scores again what is published already with the same pins.
        evolve: lets the table get another model's scores, or other columns, than it has.
        folder: for the other steps: the run's folder (for ``promote``: the comparison's file), as the
            step before answered it.
        is_retry: whether this step was done before, so that rows or suite may have been mended since.
        holder: names the orchestrator's run; one run at a time works on a partition.
        expected_holder: a holder that is known to have ended.
        decision: for ``promote``: what was decided, and by whom.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    step: Step
    partition: str | None = None
    model: str | None = None
    repeat: bool = False
    evolve: bool = False
    folder: str | None = None
    is_retry: bool = False
    holder: str | None = None
    expected_holder: str | None = None
    decision: Decision | None = None
