"""Ends a step with its parent process, and everything that the step started with the step."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PARENT_VARIABLE = "BATCHDEPLOY_PARENT"
# Seconds for a step to clean up, then for the processes it started to end by themselves: a JVM removes files.
ORDER_SECONDS = 8.0
LEFTOVER_SECONDS = 3.0
PAUSE = 0.05
DIE_WITH_PARENT = 1


def stop_with_parent() -> None:
    """Makes this process stop when its parent ends, even by SIGKILL.

    The parent holds one end of a pipe open, and passes the other in the variable ``BATCHDEPLOY_PARENT``; the
    operating system closes the pipe however the parent ends. Without the variable, this does nothing.
    """
    given = os.environ.pop(PARENT_VARIABLE, "")
    if given.isdigit():
        os.set_inheritable(int(given), False)
        threading.Thread(target=_watch, args=(int(given),), name="parent watch", daemon=True).start()


def end_with_parent(parent: int | None = None) -> None:
    """Has the kernel kill this process when its parent ends; does nothing where there is no such call.

    Args:
        parent: the parent's process id, if it may have ended already.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def end_leftovers(session: int) -> None:
    """Waits for a child that leads a session, without reaping it, then ends the rest of its session.

    Args:
        session: the child's process id.
    """
    try:
        os.waitid(os.P_PID, session, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        return
    _end_others(session)


def end_session(session: int, *, seconds: float = ORDER_SECONDS) -> None:
    """Sends SIGTERM to a child's process group, and kills what is left of its session after some seconds."""
    with suppress(ProcessLookupError):
        os.killpg(session, signal.SIGTERM)
    if not _soon(lambda: _has_ended(session), seconds):
        _kill(lambda: members(session))


def members(session: int) -> list[int]:
    """The live processes of a session, including Spark's workers, which have a process group of their own."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        # Processes may start and end during the scan.
        with suppress(OSError, ValueError):
            state, _parent, _group, of = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(of) == session and state not in "ZX":
                found.append(int(folder.name))
    return found


def _watch(pipe: int) -> None:
    os.read(pipe, 1)
    # NOTE: not a daemon thread: this process must outlive the processes it started.
    threading.Thread(target=_end_after_main, name="last order", daemon=False).start()
    os.kill(os.getpid(), signal.SIGTERM)


def _end_after_main() -> None:
    """Ends the rest of the session after the main thread; kills this process if that thread does not end."""
    threading.main_thread().join(ORDER_SECONDS)
    _end_others(os.getpid())
    if threading.main_thread().is_alive():
        os.kill(os.getpid(), signal.SIGKILL)


def _end_others(session: int) -> None:
    """Gives the other processes of a session `LEFTOVER_SECONDS` to end, then kills them."""

    def others() -> list[int]:
        return [process for process in members(session) if process != os.getpid()]

    if not _soon(lambda: not others(), LEFTOVER_SECONDS):
        _kill(others)


def _kill(found: Callable[[], list[int]]) -> None:
    """Kills processes, including newly started ones, until none is left or `ORDER_SECONDS` are over."""

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
