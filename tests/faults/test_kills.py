"""A few of the random trials; `make faults` runs thousands."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.campaign import lock_times, racing_publishers, random_kills
from faults.killing import seed_of

pytestmark = pytest.mark.slow


def test_kills_at_random_moments(tmp_path: Path) -> None:
    result = random_kills(tmp_path / "scores", trials=150, seed=seed_of("random kills"))
    assert result["violations"] == []
    assert result["killed"] > 100, result
    assert result["recoveries killed"] > 5, result
    assert result["published"] > 50, result


def test_many_publishers_of_one_partition(tmp_path: Path) -> None:
    seed = seed_of("racing publishers")
    result = racing_publishers(tmp_path / "scores", publishers=6, publishes=15, seed=seed)
    assert result["violations"] == []
    assert result["published"] > 6, result
    assert result["stale"] > 6, result


def test_every_publish_holds_the_lock_once(tmp_path: Path) -> None:
    assert lock_times(tmp_path / "scores", partitions=20)["locks"] == 20
