"""Attempts: a private staging folder for each try at a run, never used twice, swept when its process died."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from batchdeploy.core.layout import Layout
from batchdeploy.publishing.refusals import cannot_exchange
from batchdeploy.storage.failpoints import hit
from batchdeploy.storage.files import can_exchange
from batchdeploy.storage.locking import LivenessLock, try_lock, unlock

# NOTE: between the steps of an orchestrator an attempt has no process; only its age can condemn it.
ORPHAN_DAYS = 7


def check_exchange(attempt: Path) -> None:
    """Raises where what is staged could not be exchanged with a public folder.

    Raises:
        PublishError: the filesystem cannot exchange folders.
    """
    if not can_exchange(attempt):
        raise cannot_exchange(attempt.parent)


class Attempts:
    """The staging folders of one table.

    Args:
        layout: the table's folders.
        check: raises where nothing could be published from a new staging folder; None where there is nothing
            to check.
    """

    def __init__(self, layout: Layout, check: Callable[[Path], None] | None = check_exchange) -> None:
        self._staging = layout.staging
        self._intents = layout.intents
        self._check = check
        self._held: dict[str, LivenessLock] = {}

    def begin(self, run_id: str) -> Path:
        """A new folder, with this process's liveness lock beside it.

        Raises:
            PublishError: the check refused it.
        """
        self._staging.mkdir(parents=True, exist_ok=True)
        # NOTE: a sweep may try a new liveness lock before its owner has it.
        name, lock = "", None
        while lock is None:
            name = f"{run_id}-{uuid.uuid4().hex[:12]}"
            lock = try_lock(self._lock_file(name))
        attempt = self._staging / name
        self._held[name] = lock
        try:
            attempt.mkdir()
            (attempt / "scored").mkdir()
            if self._check is not None:
                self._check(attempt)
        except BaseException:
            self.discard(name)
            raise
        hit("attempt begun")
        return attempt

    def hand_over(self, name: str) -> None:
        """Lets another process go on with an attempt after this one has ended."""
        if (lock := self._held.pop(name, None)) is not None:
            # NOTE: a sweep may have listed the liveness lock, and try it when it is gone.
            self._handed_file(name).touch()
            self._lock_file(name).unlink(missing_ok=True)
            unlock(lock)

    def discard(self, name: str) -> None:
        """Removes an attempt, unless it is decided already that it will be published."""
        if (self._intents / f"{name}.json").exists():
            return
        shutil.rmtree(self._staging / name, ignore_errors=True)
        # NOTE: if deletion fails, the lock file stays, unlocked, so that the next sweep retries.
        if not (self._staging / name).exists():
            with suppress(OSError):
                self._handed_file(name).unlink(missing_ok=True)
                self._lock_file(name).unlink(missing_ok=True)
        if (lock := self._held.pop(name, None)) is not None:
            unlock(lock)

    def sweep(self, now: float) -> tuple[str, ...]:
        """Removes the attempts of dead processes, and those that no process came back to for a week.

        Args:
            now: seconds since the epoch.

        Returns:
            The attempts that were removed.
        """
        swept = []
        names = sorted(os.listdir(self._staging)) if self._staging.is_dir() else []
        for file in (self._staging / name for name in names if name.endswith(".alive")):
            if (lock := try_lock(file)) is not None:
                if self._handed_file(file.stem).exists():
                    file.unlink(missing_ok=True)
                else:
                    self.discard(file.stem)
                    swept.append(file.stem)
                unlock(lock)
        for attempt in (self._staging / name for name in names if not name.endswith((".alive", ".handed"))):
            # NOTE: other processes create and remove attempts meanwhile.
            with suppress(FileNotFoundError):
                old = now - attempt.stat().st_mtime > ORPHAN_DAYS * 86_400
                if old and not self._lock_file(attempt.name).exists():
                    self.discard(attempt.name)
                    swept.append(attempt.name)
        return tuple(swept)

    def _lock_file(self, name: str) -> Path:
        return self._staging / f"{name}.alive"

    def _handed_file(self, name: str) -> Path:
        return self._staging / f"{name}.handed"
