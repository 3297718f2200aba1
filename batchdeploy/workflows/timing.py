"""The clock of the workflows: what time it is, and how long each stage of a run takes."""

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
    """The time, in UTC; stages are told it."""
    return datetime.now(UTC)


def no_progress(stage: str, rows: int) -> None:
    """No-op progress callback."""


class StageClock:
    """Measures the stages of a run, for people (progress, seconds) and for the log.

    Args:
        progress: told the stage that begins (0 rows), and rows as they are done.
        read: the clock, in seconds.
    """

    def __init__(
        self, progress: Progress = no_progress, *, read: Callable[[], float] = time.monotonic
    ) -> None:
        self._progress = progress
        self._read = read
        self._seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[int], None]]:
        """Measures a stage, whether it passes or is refused; yields what is told the rows that are done."""
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
        """The seconds of each stage, in order."""
        return {stage: round(seconds, 3) for stage, seconds in self._seconds.items()}
