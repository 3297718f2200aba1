"""The workflows' clock: the current time, and the duration of each stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

from batchdeploy.redaction import logger

LOG = logger("batchdeploy")
Progress = Callable[[str, int], None]


def now() -> datetime:
    """The current time in UTC, which workflows pass to stages."""
    return datetime.now(UTC)


def no_progress(stage: str, rows: int) -> None:
    """No-op progress callback."""


class StageClock:
    """Measures the stages of a run, for progress display and log.

    Args:
        progress: called with the name of each stage when it begins (0 rows), and with rows as they are done.
        read: returns the clock's time in seconds.
    """

    def __init__(
        self, progress: Progress = no_progress, *, read: Callable[[], float] = time.monotonic
    ) -> None:
        self._progress = progress
        self._read = read
        self._seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[int], None]]:
        """Measures a stage, even if it raises; yields a callback for the number of rows done."""
        self._progress(name, 0)
        began = self._read()
        try:
            yield partial(self._progress, name)
        finally:
            seconds = self._read() - began
            self._seconds[name] = self._seconds.get(name, 0.0) + seconds
            LOG.info("%s took %.1f s", name, seconds)

    @property
    def seconds(self) -> dict[str, float]:
        """The duration of each stage in seconds, in order."""
        return {stage: round(seconds, 3) for stage, seconds in self._seconds.items()}
