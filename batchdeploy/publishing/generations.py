"""Earlier generations of a partition: kept for a rollback, removed beyond the retention."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from batchdeploy.core.layout import Layout
from batchdeploy.publishing.refusals import no_generation
from batchdeploy.storage.failpoints import hit


def choose_generation(
    folder: str, earlier: Sequence[str], *, published_run: str | None, to: str | None
) -> str:
    """The run that a rollback goes back to.

    Args:
        folder: the partition's folder name.
        earlier: what is kept, the last that was visible first.
        published_run: the run that is visible.
        to: the run that was asked for; None for the one before.

    Raises:
        PartitionError: there is no such generation.
    """
    kept = tuple(run for run in earlier if run != published_run)
    if not kept or (to is not None and to not in kept):
        raise no_generation(folder, to, kept)
    return to or kept[0]


class Generations:
    """What one table keeps beyond what is visible.

    Args:
        layout: the table's folders.
        keep: how many earlier generations of a partition stay.
        grace: seconds for which a generation stays anyhow, for readers that had begun before it went.
    """

    def __init__(self, layout: Layout, keep: int, grace: float) -> None:
        self._layout = layout
        self._keep = keep
        self._grace = grace
        self._trash = layout.trash

    def of(self, folder: str) -> tuple[str, ...]:
        """The run ids of a partition's earlier generations, the last that was visible first."""
        retired = self._layout.retirement / folder
        with suppress(FileNotFoundError):
            with os.scandir(retired) as entries:
                times = {entry.name: entry.stat().st_mtime_ns for entry in entries}
            return tuple(sorted(times, key=lambda run: times[run], reverse=True))
        return ()

    def surplus(self, folder: str, published_run: str | None, now: float) -> tuple[str, ...]:
        """The generations beyond the retention that no reader can still be reading.

        Args:
            folder: the partition's folder name.
            published_run: the visible run; a generation of the same run is of no use.
            now: seconds since the epoch.
        """
        runs = self.of(folder)
        kept = [run for run in runs if run != published_run][: self._keep]
        return tuple(
            run for run in runs if run not in kept and self._old(self._layout.retired(folder, run), now)
        )

    def prune(self, folder: str, published_run: str | None, now: float) -> tuple[str, ...]:
        """Takes the surplus out of reach; the table's lock must be held. `empty_trash` frees the space."""
        gone = self.surplus(folder, published_run, now)
        for run in gone:
            self._trash.mkdir(parents=True, exist_ok=True)
            os.rename(self._layout.retired(folder, run), self._trash / f"{run}-{uuid.uuid4().hex[:12]}")
        hit("old generations pruned")
        return gone

    def empty_trash(self, now: float) -> None:
        """Removes what was taken out of reach; where somebody else does so too, both come to an end."""
        names = os.listdir(self._trash) if self._trash.is_dir() else []
        for path in (self._trash / name for name in names):
            with suppress(FileNotFoundError):
                if self._old(path, now):
                    shutil.rmtree(path, ignore_errors=True)
        if names:
            with suppress(OSError):
                self._trash.rmdir()

    def _old(self, path: Path, now: float) -> bool:
        """Whether it went out of sight long enough ago; its own time was set then."""
        return self._grace == 0 or now - path.stat().st_mtime >= self._grace

    def folders(self) -> tuple[str, ...]:
        """The partitions that have earlier generations."""
        retired = self._layout.retirement
        return tuple(sorted(os.listdir(retired))) if retired.is_dir() else ()
