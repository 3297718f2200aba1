"""The oracle and the trials against four publishers that lose, mix or tear: each must be convicted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from faults.bad import (
    SPARK_OVERWRITE,
    publish_fixed_names,
    some_delay,
    without_fence,
    without_lock,
)
from faults.campaign import Known, racing_publishers, repeated
from faults.killing import finished, in_child, killed_after, seed_of
from faults.oracle import violations
from faults.publishing import run_name

FOLDER = "date=2024-01-01"
# It ends with the first kill that shows; a dozen, as a rule.
KILLS = 2_000


@pytest.mark.slow
def test_fixed_file_names_mix_two_runs_when_killed(tmp_path: Path) -> None:
    root = tmp_path / "scores"

    def publish_on(tell: object) -> None:
        tell("ready")  # type: ignore[operator]
        for number in range(1000):
            publish_fixed_names(root, FOLDER, run_name(number))

    for trial in range(KILLS):
        killed_after(some_delay(trial) / 2, publish_on)
        # A kill before the first file leaves the folder empty, or not there.
        rows = ds.dataset(root / FOLDER).to_table() if any((root / FOLDER).glob("*.parquet")) else None
        if rows is not None and len(set(rows["_run_id"].to_pylist())) > 1:
            assert [v for v in violations(root, Known(), settled=False) if v.startswith("mixed")]
            return
    pytest.fail(f"the oracle saw nothing in {KILLS} kills")


def races(home: Path, seed: int, table: Callable[[Path], Any], *, word: str = "") -> list[str]:
    """The violations with a word in them, as soon as there is one; a race need not be lost at once."""

    def race(number: int) -> dict[str, Any]:
        root = home / str(number) / "scores"
        result = racing_publishers(root, publishers=8, publishes=25, seed=seed + number, table=table)
        return result | {"violations": [v for v in result["violations"] if word in v]}

    found: list[str] = repeated(race, enough={"violations": 1})["violations"]
    return found


@pytest.mark.slow
def test_without_a_lock_updates_are_lost_or_runs_mixed(tmp_path: Path) -> None:
    assert races(tmp_path, seed_of("no lock"), without_lock)


@pytest.mark.slow
def test_without_a_fence_updates_are_lost(tmp_path: Path) -> None:
    assert races(tmp_path, seed_of("no fence"), without_fence, word="publishers replaced the run")


@pytest.mark.jvm
@pytest.mark.trial
def test_sparks_dynamic_overwrite_leaves_half_a_write(tmp_path: Path) -> None:
    """A killed overwrite: some partitions new, others old or gone, and no record that says so."""
    partitions = 60
    root = tmp_path / "scores"
    write = [sys.executable, "-c", SPARK_OVERWRITE, str(root)]
    for attempt in range(4):
        old, new = run_name(2 * attempt), run_name(2 * attempt + 1)
        subprocess.run([*write, old, str(partitions)], check=True, capture_output=True)
        process = subprocess.Popen(
            [*write, new, str(partitions)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        before = stamps(root)
        while process.poll() is None and stamps(root) == before:
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shown = {folder.name: runs_in(folder) for folder in root.glob("date=*")}
        half = {frozenset(runs) for runs in shown.values()} == {frozenset([old]), frozenset([new])}
        if half or len(shown) < partitions:
            assert [v for v in violations(root, Known(), settled=False) if v.startswith("leftovers")]
            return
    pytest.fail("four killed overwrites were all whole")


def stamps(root: Path) -> int:
    """Changes whenever a partition's folder is taken away or put there."""
    return hash(tuple((f.name, f.stat().st_ino) for f in sorted(root.glob("date=*")) if f.exists()))


def runs_in(folder: Path) -> set[str]:
    return {
        run
        for file in folder.glob("*.parquet")
        for run in pq.read_table(file, partitioning=None)["_run_id"].to_pylist()
    }


@pytest.mark.slow
def test_the_good_publisher_passes_the_same_trial(tmp_path: Path) -> None:
    seed = seed_of("the real one")
    result = racing_publishers(tmp_path / "scores", publishers=8, publishes=25, seed=seed)
    assert result["violations"] == []


def test_the_oracle_looks_at_what_a_child_leaves(tmp_path: Path) -> None:
    """A child that fails is a failure of the trial, not a quiet success."""

    def failing(_tell: object) -> None:
        raise SystemExit(3)

    code, lines = finished(*in_child(failing))
    assert code != 0
    assert lines == []
