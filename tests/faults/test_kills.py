"""A few of the random trials; `make faults` runs thousands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from faults.campaign import lock_times, racing_publishers, random_kills, repeated
from faults.killing import seed_of

pytestmark = pytest.mark.slow


def test_kills_at_random_moments(tmp_path: Path) -> None:
    enough = {"killed": 101, "recoveries killed": 6, "published": 51}
    result = random_kills(tmp_path / "scores", trials=150, seed=seed_of("random kills"), enough=enough)
    assert result["violations"] == []
    assert result["killed"] > 100, result
    assert result["recoveries killed"] > 5, result
    assert result["published"] > 50, result


def test_many_publishers_of_one_partition(tmp_path: Path) -> None:
    seed = seed_of("racing publishers")

    def race(number: int) -> dict[str, Any]:
        root = tmp_path / str(number) / "scores"
        return racing_publishers(root, publishers=6, publishes=15, seed=seed + number)

    result = repeated(race, enough={"published": 7, "stale": 7})
    assert result["violations"] == []
    assert result["published"] > 6, result
    assert result["stale"] > 6, result


def test_every_publish_holds_the_lock_once(tmp_path: Path) -> None:
    assert lock_times(tmp_path / "scores", partitions=20)["locks"] == 20
