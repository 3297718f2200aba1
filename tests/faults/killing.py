"""Processes that are killed: at a named point, at a random moment, or while another one recovers."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from batchdeploy.storage import failpoints

ENDED = 0
FAILED = 70


def in_child(work: Callable[[Callable[[str], None]], None]) -> tuple[int, int]:
    """Forks a child that does the work and may write lines to its parent; returns (pid, their file)."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    code = FAILED
    try:
        os.close(reader)
        # NOTE: a short write to a pipe is atomic. It is a writev, because faults are injected into
        # the system calls of the work, which does not use writev.
        work(lambda line: os.writev(writer, [f"{line}\n".encode()]) and None)
        code = ENDED
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def finished(pid: int, reader: int) -> tuple[int, list[str]]:
    """Waits for the child; returns its exit status (negative: the signal) and the lines that it wrote."""
    with os.fdopen(reader) as stream:
        lines = stream.read().splitlines()
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), lines


def killed_at(point: str, work: Callable[[], object], *, occurrence: int = 1) -> bool:
    """Does the work in a child that SIGKILLs itself at a point. Whether it got there."""

    def until(_tell: Callable[[str], None]) -> None:
        seen = 0

        def listen(reached: str) -> None:
            nonlocal seen
            seen += reached == point
            if seen == occurrence:
                os.kill(os.getpid(), signal.SIGKILL)

        failpoints.hook = listen
        work()

    code, _ = finished(*in_child(until))
    assert code in (ENDED, -signal.SIGKILL), f"the child failed with {code}"
    return code == -signal.SIGKILL


def killed_after(seconds: float, work: Callable[[Callable[[str], None]], None]) -> tuple[bool, list[str]]:
    """Does the work in a child that is killed so long after its first line. Whether it was, and its lines."""
    pid, reader = in_child(work)
    first = os.read(reader, 1)
    if first:
        time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    code, lines = finished(pid, reader)
    if first and lines:
        lines[0] = first.decode() + lines[0]
    assert code in (ENDED, -signal.SIGKILL), f"the child failed with {code}"
    return code == -signal.SIGKILL, lines


def seed_of(name: str) -> int:
    """The trial's seed: FAULT_SEED if it is set, to repeat a trial; else a new one, which is printed."""
    seed = int(os.environ.get("FAULT_SEED") or random.SystemRandom().randrange(2**32))
    print(f"{name}: FAULT_SEED={seed}")
    return seed


def descriptors() -> int:
    """How many file descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
