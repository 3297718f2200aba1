"""Scoring specs and jobs for tests of the kernel and of workers."""

from __future__ import annotations

from typing import Any

from batchdeploy.core.deployment import OutputColumn
from batchdeploy.core.records import Column, OutputFile
from batchdeploy.core.scoring_spec import ScoringSpec
from batchdeploy.core.work import AttemptFolders, ScoreJob, SplitResult


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


def split_result(**given: Any) -> SplitResult:
    """The result of a split of one row that wrote no file; arguments override it."""
    usual: dict[str, Any] = {
        "index": 0,
        "scored": None,
        "quarantine": None,
        "rows_in": 1,
        "keys_in": 0,
        "keys_out": 0,
        "quarantined": (),
        "profile": (),
        "loaded": True,
    }
    return SplitResult(**usual | given)


def result_of(file: OutputFile) -> SplitResult:
    """The result of a split whose rows are all in this file."""
    return split_result(scored=file, rows_in=file.rows)
