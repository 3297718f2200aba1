"""What becomes of the local engine's processes: one dies, all die, their parent dies, they are stopped."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from score_jobs import split_result

from batchdeploy.adapters.engines.local import LocalEngine
from batchdeploy.core.work import Split, SplitResult
from batchdeploy.errors import EngineError
from batchdeploy.ports import Work

SCRIPT = """
import os, sys, time
from pathlib import Path
from batchdeploy.adapters.engines.local import LocalEngine
from batchdeploy.core.work import Split

def wait(split):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(600)

splits = [Split(index=i, path="x", location="x", row_groups=(0,), first_row=0, rows=1) for i in range(2)]
list(LocalEngine(least_rows=0, cores=2).map_splits(lambda split: wait(split), splits))
"""


@pytest.fixture
def engine() -> Iterator[LocalEngine]:
    made = LocalEngine(least_rows=0, cores=2)
    yield made
    made.close()


def splits(count: int, rows: int = 1) -> tuple[Split, ...]:
    return tuple(
        Split(index=i, path=f"part-{i}", location=f"part-{i}", row_groups=(0,), first_row=0, rows=rows)
        for i in range(count)
    )


def recording(folder: Path, *, dies: int) -> Work:
    """Work that records its process in a folder; the first split's process kills itself some times."""

    made = split_result(loaded=False)

    def work(split: Split) -> SplitResult:
        if split.index == 0 and len(list(folder.glob("died-*"))) < dies:
            Path(folder, f"died-{os.getpid()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(
            made,
            index=split.index,
            rows_in=1,
            worker=str(os.getpid()),
        )

    return work


@pytest.mark.filterwarnings("ignore:Loky-backed parallel loops")
def test_a_process_that_may_have_no_children_does_the_work_itself(
    engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)  # type: ignore[attr-defined]
    found = list(engine.map_splits(recording(tmp_path, dies=0), splits(3)))
    assert [(result.index, result.worker) for result in found] == [(n, str(os.getpid())) for n in range(3)]


def test_a_process_that_dies_costs_a_retry(engine: LocalEngine, tmp_path: Path) -> None:
    found = list(engine.map_splits(recording(tmp_path, dies=2), splits(5)))
    assert sorted(result.index for result in found) == [0, 1, 2, 3, 4]
    assert len(list(tmp_path.iterdir())) == 2
    assert str(os.getpid()) not in {result.worker for result in found}


def test_processes_that_die_again_and_again_are_the_engines_failure(
    engine: LocalEngine, tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match=r"part-0: a worker's process died while it scored"):
        list(engine.map_splits(recording(tmp_path, dies=99), splits(3)))
    assert len(list(tmp_path.iterdir())) >= 4


def test_processes_stay_for_more_work_and_end_with_the_engine(engine: LocalEngine, tmp_path: Path) -> None:
    work = recording(tmp_path, dies=0)
    first = {result.worker for result in engine.map_splits(work, splits(8))}
    second = {result.worker for result in engine.map_splits(work, splits(8))}
    assert len(first | second) <= 2
    engine.close()
    assert not any(Path("/proc", process).exists() for process in first | second)


@pytest.mark.parametrize(("count", "rows", "processes"), [(1, 10**9, 1), (2, 499_999, 1), (2, 500_000, 2)])
def test_only_large_partitions_of_several_splits_are_scored_by_processes(
    count: int, rows: int, processes: int
) -> None:
    threads = LocalEngine(cores=2).worker_threads(splits(count, rows))
    assert threads == (None if processes == 1 else 1)


def test_processes_end_with_their_parent_even_if_it_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path)])
    try:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    finally:
        parent.kill()
        parent.wait()
    workers = [name.name for name in tmp_path.iterdir()]
    wait_until(lambda: not any(running(process) for process in workers))


def running(process: str) -> bool:
    try:
        state = Path("/proc", process, "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
