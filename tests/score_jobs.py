"""What tells a worker to score, for tests of what a worker does with it."""

from __future__ import annotations

from typing import Any

from batchdeploy.core.deployment import OutputColumn
from batchdeploy.core.records import Column
from batchdeploy.core.work import ScoreJob


def score_job(**given: Any) -> ScoreJob:
    """A job with the key ``id``, the input ``x`` and the output ``y``, except for what is given."""
    usual: dict[str, Any] = {
        "model_folder": "",
        "model_digest": "d",
        "model_version": 7,
        "inputs": (Column(name="x", type="double"),),
        "keys": ("id",),
        "keep": (),
        "outputs": (("y", OutputColumn(type="double")),),
        "run_id": "0123456789abcdef",
        "scored_at_us": 1_700_000_000_000_000,
        "staging": "",
        "bins": (),
        "max_failures": 3,
    }
    return ScoreJob(**usual | given)
