"""The table's lock: one publisher at a time, a bounded wait, and a message that names the holder."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import filelock

from batchdeploy.adapters.parquet_sink.files import write_atomic
from batchdeploy.adapters.parquet_sink.refusals import holder as holder_of
from batchdeploy.core.layout import Layout
from batchdeploy.errors import Problem, PublishError


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
        who = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        write_atomic(holder, json.dumps(who))
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
