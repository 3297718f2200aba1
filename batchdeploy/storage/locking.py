"""The lock that serialises publishes of a table, and the liveness lock of each staged attempt."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from batchdeploy.core.layout import Layout
from batchdeploy.errors import Problem, PublishError
from batchdeploy.host.file_modes import restrict
from batchdeploy.storage.failpoints import hit

LivenessLock = filelock.BaseFileLock


@contextmanager
def locked(layout: Layout, seconds: float) -> Iterator[None]:
    """Holds the table's lock.

    Raises:
        PublishError: another process still held the lock after ``seconds``.
    """
    holder = layout.lock_holder
    lock = filelock.FileLock(layout.lock, timeout=seconds)
    try:
        lock.acquire()
    except filelock.Timeout:
        problem = Problem(str(layout.lock), "still held by another publisher", _holder(holder))
        raise PublishError("the table", (problem,), hint="wait for it, or end that process") from None
    try:
        restrict(layout.lock)
        # Not synced: it only tells a waiting process who holds the lock.
        with suppress(OSError):
            who = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
            holder.write_text(json.dumps(who), encoding="utf-8")
        hit("table locked")
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        unlock(lock)
        hit("table unlocked")


def unlock(lock: LivenessLock) -> None:
    """Releases a lock. A failure is ignored: the work is done, and the process's end releases the lock."""
    with suppress(OSError):
        lock.release()


def try_lock(file: Path) -> LivenessLock | None:
    """Takes the liveness lock in this file; None if a running process holds it.

    The operating system releases the lock when the process ends, even if it is killed.
    """
    lock = filelock.FileLock(file)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        return None
    return lock


def _holder(file: Path) -> str:
    try:
        who = json.loads(file.read_text(encoding="utf-8"))
        return f"process {who['pid']} on {who['host']}"
    except (OSError, ValueError, KeyError):
        return "unknown"
