"""Promotion: the alias moves from a comparison's champion to its challenger, where that was approved."""

from __future__ import annotations

import json
from pathlib import Path

from batchdeploy.core.comparison import Comparison
from batchdeploy.core.request import Decision
from batchdeploy.documents import from_json
from batchdeploy.errors import Problem, PromotionRefused, RequestError
from batchdeploy.host.file_modes import restrict
from batchdeploy.workflows import timing
from batchdeploy.workflows.attempt import warn_on_failure
from batchdeploy.workflows.toolbox import Toolbox


def promote(tools: Toolbox, file: Path, decision: Decision) -> Comparison:
    """Moves the alias from the champion of a comparison to its challenger, where that was approved.

    What was decided is kept in ``promotions.jsonl`` of the control folder, a rejection too.

    Raises:
        PromotionRefused: the challenger was rejected; the alias stays where it was.
        RequestError: no such comparison, or the alias has moved since.
    """
    if not file.is_file():
        raise RequestError(str(file), "there is no such comparison")
    seen = from_json(Comparison, file.read_bytes(), where=str(file))
    if decision.approved:
        tools.registry.move_alias(seen.model, seen.alias, seen=seen.champion, version=seen.challenger)
    with warn_on_failure("the decision could not be kept"):
        _record_decision(tools.layout.promotions, seen, decision, file.name)
    if not decision.approved:
        stays = f"was rejected by {decision.by or 'nobody'}: {seen.alias} stays at version {seen.champion}"
        what = Problem(f"version {seen.challenger}", stays)
        raise PromotionRefused(f"the promotion of {seen.model}", (what,))
    return seen


def _record_decision(file: Path, seen: Comparison, decision: Decision, comparison: str) -> None:
    line = {
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
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line, ensure_ascii=False) + "\n")
        restrict(file)
