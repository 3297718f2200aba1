"""How long each stage of a run takes, told by the progress that announces them."""

from __future__ import annotations

import time
from collections.abc import Callable

Progress = Callable[[str, int], None]


class StageClock:
    """A progress that passes on what it is told, and keeps the seconds of each stage.

    Args:
        progress: who else is told.
        read: the clock, in seconds.
    """

    def __init__(self, progress: Progress, read: Callable[[], float] = time.monotonic) -> None:
        self._progress = progress
        self._read = read
        self._seconds: dict[str, float] = {}
        self._stage: str | None = None
        self._since = 0.0

    @classmethod
    def of(cls, progress: Progress) -> StageClock:
        """The clock that runs already, or a new one."""
        return progress if isinstance(progress, cls) else cls(progress)

    def __call__(self, stage: str, rows: int) -> None:
        """A stage begins, or has done so many more rows."""
        if stage != self._stage:
            self._turn(stage)
        self._progress(stage, rows)

    def stop(self) -> dict[str, float]:
        """The seconds of each stage, in order."""
        self._turn(None)
        return {stage: round(seconds, 3) for stage, seconds in self._seconds.items()}

    def _turn(self, stage: str | None) -> None:
        now = self._read()
        if self._stage is not None:
            self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = stage, now
