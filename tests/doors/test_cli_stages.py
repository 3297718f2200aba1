"""What a run says while it works, where nobody has a terminal; and where the time went."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests_support import Result

import batchdeploy as bd
from batchdeploy.workflows.timing import StageClock

STAGES = ["resolve", "validate", "score", "drift", "publish", "report"]
DAY = "2024-03-02"


@pytest.mark.slow
def test_stages_are_told_as_they_begin(deployment: Path, cli: Callable[..., Result]) -> None:
    done = cli("run", deployment, "-p", DAY)
    assert done.code == 0
    told = [line.split(": ", 1) for line in done.err.splitlines() if f" {DAY}: " in line]
    assert [stage for _, stage in told] == STAGES
    assert "time: " in done.out
    assert all(f"{stage} " in done.out.split("time: ")[1] for stage in STAGES)
    assert "scored in" not in done.out
    again = cli("run", deployment, "-p", DAY, "--force", "--json")
    assert list(again.json["seconds"]) == STAGES
    assert [line for line in again.err.splitlines() if line.endswith(": score")]


@pytest.mark.slow
def test_a_backfill_tells_how_far_it_is(deployment: Path, cli: Callable[..., Result]) -> None:
    done = cli("backfill", deployment, "--from", DAY, "--to", "2024-03-03", "--json")
    lines = done.err.splitlines()
    assert f"{DAY} to 2024-03-03: resolve" in lines[0]
    assert [line for line in lines if "2024-03-03 (2 of 2): publish" in line]
    assert [list(partition["seconds"]) for partition in done.json["partitions"]] == [STAGES[1:]] * 2


@pytest.mark.slow
def test_a_notebook_has_the_seconds_too(deployment: Path) -> None:
    with bd.load(deployment) as job:
        assert list(job.run(DAY).seconds) == STAGES
        assert list(job.run(DAY).seconds) == ["resolve"]


def test_a_clock_adds_up_what_a_stage_took(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int]] = []
    ticks = iter([0.0, 3.0, 3.0, 10.0])
    clock = StageClock(lambda stage, rows: told.append((stage, rows)), read=lambda: next(ticks))
    with clock.stage("score") as done:
        done(5)
    with clock.stage("report"):
        pass
    assert told == [("score", 0), ("score", 5), ("report", 0)]
    assert clock.seconds == {"score": 3.0, "report": 7.0}
