"""Attempts: a private staging folder for each try at a run, never reused, removed after its process died."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from batchdeploy.core.layout import ALIVE, HANDED, STAGED, Layout
from batchdeploy.publishing.refusals import cannot_exchange
from batchdeploy.storage.failpoints import hit
from batchdeploy.storage.files import can_exchange
from batchdeploy.storage.locking import LivenessLock, try_lock, unlock

# Between the steps of an orchestrator an attempt has no process, so it expires by age.
ORPHAN_DAYS = 7


def check_exchange(attempt: Path) -> None:
    """Checks that folders can be exchanged on this filesystem.

    Raises:
        PublishError: the filesystem cannot exchange folders.
    """
    if not can_exchange(attempt):
        raise cannot_exchange(attempt.parent)


class Attempts:
    """The staging folders of one table.

    Args:
        layout: the table's folders.
        check: raises if a new staging folder could not be published later; None if no scores lie in it.
        forget: called with an attempt's name before its folder is removed.
    """

    def __init__(
        self,
        layout: Layout,
        check: Callable[[Path], None] | None = check_exchange,
        forget: Callable[[str], None] | None = None,
    ) -> None:
        self._layout = layout
        self._forget = forget
        self._staging = layout.staging
        self._check = check
        self._held: dict[str, LivenessLock] = {}

    def begin(self, run_id: str) -> Path:
        """Creates a staging folder, and takes its liveness lock, which is a file beside it.

        Raises:
            PublishError: the check failed.
        """
        self._staging.mkdir(parents=True, exist_ok=True)
        # NOTE: a sweep may take a new liveness lock before its owner does.
        name, lock = "", None
        while lock is None:
            name = f"{run_id}-{uuid.uuid4().hex[:12]}"
            lock = try_lock(self._lock_file(name))
        attempt = self._staging / name
        self._held[name] = lock
        try:
            attempt.mkdir()
            if self._check is not None:
                (attempt / STAGED).mkdir()
                self._check(attempt)
        except BaseException:
            self.discard(name)
            raise
        hit("attempt begun")
        return attempt

    def hand_over(self, name: str) -> None:
        """Releases an attempt's liveness lock, so that another process can continue it."""
        if (lock := self._held.pop(name, None)) is not None:
            # NOTE: a sweep may have listed the lock file, and try to lock it after it was removed.
            self._handed_file(name).touch()
            self._lock_file(name).unlink(missing_ok=True)
            unlock(lock)

    def discard(self, name: str) -> None:
        """Removes an attempt's staging folder, unless an intent to publish it exists."""
        if self._layout.intent(name).exists():
            return
        if self._forget is not None:
            self._forget(name)
        shutil.rmtree(self._staging / name, ignore_errors=True)
        # If deletion fails, the lock file stays, unlocked, so that the next sweep retries.
        if not (self._staging / name).exists():
            with suppress(OSError):
                self._handed_file(name).unlink(missing_ok=True)
                self._lock_file(name).unlink(missing_ok=True)
        if (lock := self._held.pop(name, None)) is not None:
            unlock(lock)

    def sweep(self, now: float) -> tuple[str, ...]:
        """Removes the attempts of dead processes, and handed-over attempts that were not used for a week.

        Args:
            now: seconds since the epoch.

        Returns:
            The attempts that were removed.
        """
        swept = []
        names = sorted(os.listdir(self._staging)) if self._staging.is_dir() else []
        for file in (self._staging / name for name in names if name.endswith(ALIVE)):
            if (lock := try_lock(file)) is not None:
                if self._handed_file(file.stem).exists():
                    file.unlink(missing_ok=True)
                else:
                    self.discard(file.stem)
                    swept.append(file.stem)
                unlock(lock)
        for attempt in (self._staging / name for name in names if not name.endswith((ALIVE, HANDED))):
            # Other processes create and remove attempts meanwhile.
            with suppress(FileNotFoundError):
                old = now - attempt.stat().st_mtime > ORPHAN_DAYS * 86_400
                if old and not self._lock_file(attempt.name).exists():
                    self.discard(attempt.name)
                    swept.append(attempt.name)
        return tuple(swept)

    def _lock_file(self, name: str) -> Path:
        return self._layout.liveness(name)

    def _handed_file(self, name: str) -> Path:
        return self._layout.handed_over(name)
