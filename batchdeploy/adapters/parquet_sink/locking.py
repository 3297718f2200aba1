"""Locks: one publisher of a table at a time, and a sign of life for each attempt in staging."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from batchdeploy.adapters.parquet_sink.points import reach
from batchdeploy.adapters.parquet_sink.refusals import holder as holder_of
from batchdeploy.core.layout import Layout
from batchdeploy.errors import Problem, PublishError
from batchdeploy.file_modes import restrict

Life = filelock.BaseFileLock


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
        problem = Problem(str(layout.lock), "still held by another publisher", holder_of(holder))
        raise PublishError("the table", (problem,), hint="wait for it, or end that process") from None
    try:
        restrict(layout.lock)
        # NOTE: not through to the disk: it only tells a waiting process whom it waits for.
        with suppress(OSError):
            who = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
            holder.write_text(json.dumps(who), encoding="utf-8")
        reach("table locked")
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        give_back(lock)
        reach("table unlocked")


def give_back(lock: Life) -> None:
    """Releases a lock. Where even that fails, what was done under it is done; the process's end frees it."""
    with suppress(OSError):
        lock.release()


def take_life(file: Path) -> Life | None:
    """The sign of life in this file, where no living process has it; else None.

    The operating system gives it back when its process ends, however it ends.
    """
    lock = filelock.FileLock(file)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        return None
    return lock
