"""Promotes a challenger: moves the alias to it after an approved comparison."""

from __future__ import annotations

import socket
from pathlib import Path

from batchdeploy.core.comparison import Comparison
from batchdeploy.core.locations import Location, as_location
from batchdeploy.core.request import Decision
from batchdeploy.documents import from_json
from batchdeploy.errors import Problem, PromotionRefused, RequestError
from batchdeploy.workflows import timing
from batchdeploy.workflows.attempt import warn_on_failure
from batchdeploy.workflows.run_folders import COMMON, find_key
from batchdeploy.workflows.toolbox import Toolbox


def promote(tools: Toolbox, file: Location | str, decision: Decision) -> Comparison:
    """Moves the alias from a comparison's champion to its challenger, if the decision approves it.

    Every decision, including a rejection, is appended to ``promotions.jsonl`` in the control folder.

    Raises:
        PromotionRefused: the challenger was rejected; the alias was not moved.
        RequestError: the comparison does not exist, or the alias was moved since.
    """
    file = as_location(str(file))
    seen = _find(tools, file)
    if seen is None:
        where = socket.gethostname()
        raise RequestError(str(file), f"there is no such comparison on machine {where}", hint=COMMON)
    if decision.approved:
        tools.registry.move_alias(seen.model, seen.alias, seen=seen.champion, version=seen.challenger)
    with warn_on_failure("the decision could not be recorded"):
        tools.comparisons.add_decision(_decision(seen, decision, file.name))
    if not decision.approved:
        stays = f"was rejected by {decision.by or 'nobody'}: {seen.alias} stays at version {seen.champion}"
        what = Problem(f"version {seen.challenger}", stays)
        raise PromotionRefused(f"the promotion of {seen.model}", (what,))
    return seen


def _find(tools: Toolbox, file: Location) -> Comparison | None:
    key = find_key(tools, file)
    if key is not None:
        return tools.comparisons.find(key)
    # Somebody may have copied it elsewhere.
    if isinstance(file, Path) and file.is_file():
        return from_json(Comparison, file.read_bytes(), where=str(file))
    return None


def _decision(seen: Comparison, decision: Decision, comparison: str) -> dict[str, object]:
    return {
        "at": timing.now().isoformat(),
        "model": seen.model,
        "alias": seen.alias,
        "from": seen.champion,
        "to": seen.challenger,
        "approved": decision.approved,
        "decided_by": decision.by,
        "decided_at": decision.at,
        "partition": seen.partition,
        "comparison": comparison,
    }
