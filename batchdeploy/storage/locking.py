"""Locks: one publisher of a table at a time, and a liveness lock for each attempt in staging."""

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
        PublishError: another process held it for so many seconds.
    """
    holder = layout.control / "lock.holder.json"
    lock = filelock.FileLock(layout.lock, timeout=seconds)
    try:
        lock.acquire()
    except filelock.Timeout:
        problem = Problem(str(layout.lock), "still held by another publisher", _holder(holder))
        raise PublishError("the table", (problem,), hint="wait for it, or end that process") from None
    try:
        restrict(layout.lock)
        # NOTE: not through to the disk: it only tells a waiting process whom it waits for.
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
    """Releases a lock. Where even that fails, what was done under it is done; the process's end frees it."""
    with suppress(OSError):
        lock.release()


def try_lock(file: Path) -> LivenessLock | None:
    """The liveness lock in this file, where no living process has it; else None.

    The operating system gives it back when its process ends, however it ends.
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
