"""Scoring specs and jobs for tests of the kernel and of workers."""

from __future__ import annotations

from typing import Any

from batchdeploy.core.deployment import OutputColumn
from batchdeploy.core.records import Column
from batchdeploy.core.scoring_spec import ScoringSpec
from batchdeploy.core.work import AttemptFolders, ScoreJob


def scoring_spec(**given: Any) -> ScoringSpec:
    """A spec with the key ``id``, the input ``x`` and the output ``y``; arguments override it."""
    usual: dict[str, Any] = {
        "model_version": 7,
        "inputs": (Column(name="x", type="double"),),
        "keys": ("id",),
        "keep": (),
        "outputs": (("y", OutputColumn(type="double")),),
        "run_id": "0123456789abcdef",
        "scored_at_us": 1_700_000_000_000_000,
        "max_failures": 3,
    }
    return ScoringSpec(**usual | given)


def score_job(spec: ScoringSpec, *, staging: str = "", **given: Any) -> ScoreJob:
    """A job with this spec that writes below one folder; further arguments override it."""
    usual: dict[str, Any] = {"model_folder": "", "model_digest": "d", "folders": folders_in(staging)}
    return ScoreJob(spec=spec, **usual | given)


def folders_in(staging: str) -> AttemptFolders:
    """The folders of an attempt in staging."""
    name = staging.rpartition("/")[2]
    scored, quarantine = f"{staging}/scored", f"{staging}/quarantine"
    return AttemptFolders(name=name, scored=scored, quarantine=quarantine, scratch=staging)
