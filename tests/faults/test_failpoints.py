"""A kill at every named point, in every situation; then recovery, itself killed at every point it passes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from batchdeploy.storage.failpoints import POINTS
from faults.killing import killed_at
from faults.oracle import published_run, violations
from faults.publishing import expected, publish, run_name, swap_table

FOLDERS = ("date=2024-01-01", "date=2024-01-02", "date=2024-01-03")
OLD, NEW, NEXT = (run_name(number) for number in range(3))
KNOWN = {(folder, run): expected(folder, run) for folder in FOLDERS for run in (OLD, NEW, NEXT)}
# A process that dies after the intent has published; before it, nothing was published.
DECIDED = POINTS.index("intent written")

SITUATIONS = {
    "first publish": ((), FOLDERS[:1], 1),
    "overwrite": (FOLDERS[:1], FOLDERS[:1], 1),
    "several partitions": (FOLDERS, FOLDERS, 2),
}
IN_PUBLISH = [point for point in POINTS if point not in ("files collected", "old generations pruned")]


def publish_all(root: Path, folders: tuple[str, ...], run: str, base_run: str | None) -> None:
    table = swap_table(root, durability="power", keep=1)
    for folder in folders:
        publish(table, folder, run, base_run)


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("point", IN_PUBLISH)
def test_a_kill_at_a_point(tmp_path: Path, point: str, situation: str) -> None:
    root = tmp_path / "scores"
    before, after, occurrence = SITUATIONS[situation]
    publish_all(root, before, OLD, None)
    base_run = OLD if before else None
    fired = killed_at(point, lambda: publish_all(root, after, NEW, base_run), occurrence=occurrence)
    assert fired
    assert not [v for v in violations(root, KNOWN, settled=False) if "lock" not in v]
    swap_table(root).maintenance.recover(now=time.time())
    assert violations(root, KNOWN) == []
    hit = after[occurrence - 1]
    assert published_run(root, hit) == (NEW if POINTS.index(point) >= DECIDED else base_run)
    for folder in after:
        publish(swap_table(root), folder, NEXT, published_run(root, folder))
        assert published_run(root, folder) == NEXT
    assert violations(root, KNOWN) == []


@pytest.mark.parametrize("again", [p for p in POINTS[DECIDED + 1 :] if "generations" not in p])
@pytest.mark.parametrize("point", ["intent written", "folders swapped", "audit written"])
def test_a_kill_during_recovery_and_during_that_recovery(tmp_path: Path, point: str, again: str) -> None:
    root = tmp_path / "scores"
    publish_all(root, FOLDERS[:1], OLD, None)
    assert killed_at(point, lambda: publish_all(root, FOLDERS[:1], NEW, OLD))
    if again != "staging removed":
        assert killed_at(again, lambda: swap_table(root).maintenance.recover(now=time.time()))
        killed_at(again, lambda: swap_table(root).maintenance.recover(now=time.time()))
    swap_table(root).maintenance.recover(now=time.time())
    assert published_run(root, FOLDERS[0]) == NEW
    assert violations(root, KNOWN) == []


@pytest.mark.parametrize("point", [p for p in POINTS[POINTS.index("table locked") :] if "staging" not in p])
def test_a_kill_during_a_rollback(tmp_path: Path, point: str) -> None:
    root, folder = tmp_path / "scores", FOLDERS[0]
    for run, base_run in ((OLD, None), (NEW, OLD)):
        publish_all(root, (folder,), run, base_run)

    def back() -> None:
        swap_table(root).publisher.roll_back(folder, to=OLD, expected_run=NEW, at="now")

    fired = killed_at(point, back)
    assert fired == (point not in ("fence passed", "old generations pruned"))
    swap_table(root).maintenance.recover(now=time.time())
    decided = not fired or POINTS.index(point) >= DECIDED
    assert published_run(root, folder) == (OLD if decided else NEW)
    assert violations(root, KNOWN) == []
    assert swap_table(root).table.generations(folder) == ((NEW,) if decided else (OLD,))


def test_a_kill_while_old_generations_are_pruned(tmp_path: Path) -> None:
    root, folder = tmp_path / "scores", FOLDERS[0]
    for run, base_run in ((OLD, None), (NEW, OLD)):
        publish_all(root, (folder,), run, base_run)
    assert killed_at("old generations pruned", lambda: publish_all(root, (folder,), NEXT, NEW))
    assert (tmp_path / "scores.batchdeploy" / "trash").is_dir()
    swap_table(root, keep=1).maintenance.collect_garbage(now=time.time())
    assert violations(root, KNOWN) == []
    assert swap_table(root).table.generations(folder) == (NEW,)
