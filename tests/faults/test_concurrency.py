"""Zombies, crowds, overlapping work, readers in the middle of it, and disks that fill up."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from batchdeploy.errors import BatchdeployError, PublishError, StaleRunError
from batchdeploy.storage import failpoints
from faults.campaign import FOLDERS, Known
from faults.killing import finished, in_child
from faults.oracle import published_run, violations
from faults.publishing import publish, run_name, swap_table
from faults.readers import READERS, racing_reads
from faults.syscalls import SITUATIONS, available, syscall_faults

FOLDER = FOLDERS[0]
OLD, NEW, OTHER, NEXT = (run_name(number) for number in range(4))


def stopping_at(point: str, root: Path) -> Callable[[Callable[[str], None]], None]:
    """Publishes NEW over OLD, and stops itself (SIGSTOP) at a point."""

    def work(tell: Callable[[str], None]) -> None:
        def listen(reached: str) -> None:
            if reached == point:
                tell("stopping")
                os.kill(os.getpid(), signal.SIGSTOP)

        failpoints.hook = listen
        try:
            publish(swap_table(root), FOLDER, NEW, OLD)
            tell("published")
        except StaleRunError:
            tell("stale")

    return work


def wait_until_stopped(pid: int) -> None:
    while Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "T":
        time.sleep(0.001)


def test_a_zombie_that_wakes_before_the_lock_does_not_overwrite_newer_scores(tmp_path: Path) -> None:
    root = tmp_path / "scores"
    publish(swap_table(root), FOLDER, OLD, None)
    pid, reader = in_child(stopping_at("files verified", root))
    wait_until_stopped(pid)
    publish(swap_table(root), FOLDER, OTHER, OLD)
    swap_table(root).maintenance.recover(now=time.time())
    os.kill(pid, signal.SIGCONT)
    code, lines = finished(pid, reader)
    assert (code, lines) == (0, ["stopping", "stale"])
    assert published_run(root, FOLDER) == OTHER
    assert violations(root, Known()) == []


def test_a_zombie_that_holds_the_lock_is_named_and_publishes_when_it_wakes(tmp_path: Path) -> None:
    root = tmp_path / "scores"
    publish(swap_table(root), FOLDER, OLD, None)
    pid, reader = in_child(stopping_at("table locked", root))
    wait_until_stopped(pid)
    with pytest.raises(PublishError, match=f"process {pid} on"):
        publish(swap_table(root, seconds=0.2), FOLDER, OTHER, OLD)
    os.kill(pid, signal.SIGCONT)
    assert finished(pid, reader) == (0, ["stopping", "published"])
    with pytest.raises(StaleRunError):
        publish(swap_table(root), FOLDER, OTHER, OLD)
    assert published_run(root, FOLDER) == NEW
    assert violations(root, Known()) == []


def test_two_runs_over_the_same_partitions_in_opposite_order(tmp_path: Path) -> None:
    root = tmp_path / "scores"

    def publishing(run: str, order: tuple[str, ...]) -> Callable[[Callable[[str], None]], None]:
        def work(tell: Callable[[str], None]) -> None:
            for folder in order:
                try:
                    publish(swap_table(root), folder, run, None)
                    tell(f"published {folder}")
                except StaleRunError:
                    tell(f"stale {folder}")

        return work

    children = [in_child(publishing(NEW, FOLDERS)), in_child(publishing(OTHER, FOLDERS[::-1]))]
    told = [finished(*child) for child in children]
    assert [code for code, _ in told] == [0, 0]
    lines = [line for _, lines in told for line in lines]
    assert sorted(line for line in lines if "published" in line) == [f"published {f}" for f in FOLDERS]
    assert violations(root, Known()) == []


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_a_plain_reader_never_sees_a_mix(tmp_path: Path, reader: str) -> None:
    result = racing_reads(tmp_path / "scores", READERS[reader], reads=100)
    assert result["violations"] == []
    assert result["whole"] >= 100, result
    assert result["runs seen"] > 10, result


@pytest.mark.slow
@pytest.mark.parametrize("situation", SITUATIONS)
def test_faults_at_system_calls(tmp_path: Path, situation: str) -> None:
    if not available():
        pytest.skip("needs strace, and the right to use it")
    result = syscall_faults(tmp_path, situation, every=7)
    assert result["violations"] == []
    assert result["missed"] == []
    assert result["fired"] > 10, result


def in_own_mounts(
    root: Path, size: str, work: Callable[[Callable[[str], None]], None]
) -> tuple[int, list[str]]:
    """Does the work in a child that sees a small tmpfs of its own at a folder; skips where it may not."""
    library = ctypes.CDLL(None, use_errno=True)

    def mounted(tell: Callable[[str], None]) -> None:
        newns, private, recursive = 0x00020000, 1 << 18, 1 << 14
        if (
            library.unshare(newns)
            or library.mount(b"none", b"/", None, private | recursive, None)
            or library.mount(b"tmpfs", os.fsencode(root), b"tmpfs", 0, f"size={size}".encode())
        ):
            tell("may not mount")
            return
        work(tell)

    root.mkdir(parents=True, exist_ok=True)
    code, lines = finished(*in_child(mounted))
    if lines == ["may not mount"]:
        pytest.skip("needs the right to mount")
    return code, lines


def test_a_full_disk_and_one_that_is_read_only(tmp_path: Path) -> None:
    home = tmp_path / "disk"
    root = home / "scores"
    library = ctypes.CDLL(None, use_errno=True)

    def refused(tell: Callable[[str], None], work: Callable[[], None]) -> None:
        try:
            work()
            tell("no error")
        except (BatchdeployError, OSError) as error:
            tell(" ".join(str(error).split()))

    def work(tell: Callable[[str], None]) -> None:
        publish(swap_table(root), FOLDER, OLD, None)
        filler = home / "filler"
        with filler.open("wb", buffering=0) as stream:
            try:
                while stream.write(b"x" * 4096):
                    pass
            except OSError:
                tell("full")
        refused(tell, lambda: publish(swap_table(root), FOLDER, NEW, OLD))
        filler.unlink()
        tell(str(violations(root, Known())))
        library.mount(None, os.fsencode(home), None, 32 | 1, None)
        refused(tell, lambda: publish(swap_table(root), FOLDER, NEW, OLD))
        library.mount(None, os.fsencode(home), None, 32, None)
        publish(swap_table(root), FOLDER, NEW, OLD)
        tell(str(violations(root, Known())))

    code, lines = in_own_mounts(home, "256k", work)
    assert code == 0
    assert lines[0] == "full"
    assert "No space left on device" in lines[1]
    assert lines[2] == "[]"
    assert "Read-only file system" in lines[3]
    assert lines[4] == "[]"
