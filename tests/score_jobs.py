"""Scoring specs and jobs for tests of the kernel and of workers."""

from __future__ import annotations

from typing import Any

from batchdeploy.core.deployment import OutputColumn
from batchdeploy.core.records import Column
from batchdeploy.core.scoring_spec import ScoringSpec
from batchdeploy.core.work import ScoreJob


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


def score_job(spec: ScoringSpec, **given: Any) -> ScoreJob:
    """A job with this spec; arguments override it."""
    usual: dict[str, Any] = {"model_folder": "", "model_digest": "d", "staging": ""}
    return ScoreJob(spec=spec, **usual | given)
