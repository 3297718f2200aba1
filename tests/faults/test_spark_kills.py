"""One kill of a real Spark run, and two on a real cluster; `make faults` does a hundred and fifty."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.killing import seed_of
from faults.spark_kills import cluster_kills, driver_kills

pytestmark = pytest.mark.jvm


def test_a_killed_driver_leaves_old_scores_and_no_process(tmp_path: Path) -> None:
    result = driver_kills(tmp_path / "project", kills=1, seed=seed_of("Spark drivers"))
    assert result["violations"] == []
    assert result["kills"] == 1


def test_killed_executors_and_workers_cost_a_retry_and_no_row(tmp_path: Path) -> None:
    result = cluster_kills(tmp_path / "project", kills=2, seed=seed_of("a Spark cluster"))
    assert result["violations"] == []
    assert result.get("executors killed", 0) + result.get("Python workers killed", 0) >= 2
