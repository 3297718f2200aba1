"""Why a publish does not go through, as errors that say what is visible and what to do."""

from __future__ import annotations

import json
from pathlib import Path

from batchdeploy.core.layout import Layout
from batchdeploy.core.records import Plan
from batchdeploy.errors import Problem, PublishError, StaleRunError


def stale(plan: Plan, live: str | None) -> StaleRunError:
    problem = Problem(plan.folder, f"when planned, its run was {plan.live or 'none'}", live or "none")
    hint = "run it again: it plans against what is there now"
    return StaleRunError("the published table", (problem,), hint=hint)


def unfinished(plan: Plan, waiting: str) -> PublishError:
    problem = Problem(plan.folder, "a run decided earlier cannot be finished; see the disk", waiting)
    return PublishError("the published table", (problem,))


def same_filesystem(layout: Layout, folder: str, staged: Path) -> None:
    """Before anything is decided: two folders can be exchanged on one filesystem only."""
    layout.table.mkdir(parents=True, exist_ok=True)
    live = layout.live(folder)
    for place in (layout.table, live if live.is_dir() else layout.table):
        if place.stat().st_dev != staged.stat().st_dev:
            problem = Problem(str(place), "lies on another filesystem than its control folder")
            raise PublishError("the published table", (problem,), hint="mount the folder above both, not one")


def holder(file: Path) -> str:
    try:
        who = json.loads(file.read_text(encoding="utf-8"))
        return f"process {who['pid']} on {who['host']}"
    except (OSError, ValueError, KeyError):
        return "unknown"


def interrupted(error: OSError, where: Path, *, withdrawn: bool) -> PublishError:
    hint = (
        "nothing was published"
        if withdrawn
        else "the scores are visible already; the next run of any partition finishes their records"
    )
    return PublishError(
        str(where), (Problem("disk", error.strerror or str(error), error.filename),), hint=hint
    )


def translated(error: OSError, where: Path) -> PublishError:
    return PublishError(str(where), (Problem("disk", error.strerror or str(error), error.filename),))
