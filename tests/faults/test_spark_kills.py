"""One kill of a real Spark run; `make faults` does a hundred, and fifty on a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.killing import seed_of
from faults.spark_kills import driver_kills

pytestmark = [pytest.mark.jvm, pytest.mark.trial]


def test_a_killed_driver_leaves_old_scores_and_no_process(tmp_path: Path) -> None:
    result = driver_kills(tmp_path / "project", kills=1, seed=seed_of("Spark drivers"))
    assert result["violations"] == []
    assert result["kills"] == 1
