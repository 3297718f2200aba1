"""A step ends with the process that started it, and everything that the step started ends with the step."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PARENT_VARIABLE = "BATCHDEPLOY_PARENT"
# NOTE: so long a step may put things in order; then what it started may end by itself: a JVM removes files.
ORDER_SECONDS = 8.0
LEFTOVER_SECONDS = 3.0
PAUSE = 0.05


def stop_with_parent() -> None:
    """From now on this process stops when the one that started it ends, even by SIGKILL.

    The parent holds one end of a pipe open, and names the other in the variable ``BATCHDEPLOY_PARENT``; the
    operating system closes it however the parent ends. Without that variable nothing is watched.
    """
    given = os.environ.pop(PARENT_VARIABLE, "")
    if given.isdigit():
        os.set_inheritable(int(given), False)
        threading.Thread(target=_watch, args=(int(given),), name="parent watch", daemon=True).start()


def end_leftovers(session: int) -> None:
    """Waits until a child that leads a session has ended, without reaping it, then ends what it left behind.

    Args:
        session: the child's process id.
    """
    try:
        os.waitid(os.P_PID, session, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        return
    _end_others(session)


def end_session(session: int, *, seconds: float = ORDER_SECONDS) -> None:
    """Asks a child and all that it started to end, and kills what is there after so many seconds."""
    with suppress(ProcessLookupError):
        os.killpg(session, signal.SIGTERM)
    if not _soon(lambda: _has_ended(session), seconds):
        _kill(lambda: members(session))


def members(session: int) -> list[int]:
    """The living processes of a session; workers of Spark are in it, though in a group of their own."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        # NOTE: processes come and go while we look.
        with suppress(OSError, ValueError):
            state, _parent, _group, of = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(of) == session and state not in "ZX":
                found.append(int(folder.name))
    return found


def _watch(pipe: int) -> None:
    os.read(pipe, 1)
    # NOTE: no daemon: the process must not end before what it started has.
    threading.Thread(target=_end_after_main, name="last order", daemon=False).start()
    os.kill(os.getpid(), signal.SIGTERM)


def _end_after_main() -> None:
    """What the main thread leaves behind ends, and where it does not come to an end, everything."""
    threading.main_thread().join(ORDER_SECONDS)
    _end_others(os.getpid())
    if threading.main_thread().is_alive():
        os.kill(os.getpid(), signal.SIGKILL)


def _end_others(session: int) -> None:
    """Lets the others of a session end by themselves for a moment, then kills them."""

    def others() -> list[int]:
        return [process for process in members(session) if process != os.getpid()]

    if not _soon(lambda: not others(), LEFTOVER_SECONDS):
        _kill(others)


def _kill(found: Callable[[], list[int]]) -> None:
    """Kills processes, and those that come to be meanwhile, until none is found or `ORDER_SECONDS` are over.

    A process lives on for a moment after it was sent the signal.
    """

    def none_left() -> bool:
        processes = found()
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return not processes

    _soon(none_left, ORDER_SECONDS)


def _has_ended(child: int) -> bool:
    try:
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    except ChildProcessError:
        return True


def _soon(ready: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            return False
        time.sleep(PAUSE)
    return True
