"""What DVC records of the workspace's folders, beside what lies in them."""

from __future__ import annotations

import os
import shlex
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from batchdeploy.adapters.sources.dvc.fetching import fetch
from batchdeploy.adapters.sources.dvc.recorded import files_below, is_recorded, md5_of, recorded_file
from batchdeploy.adapters.sources.dvc.repository import opened, path_in, translated
from batchdeploy.core.deployment import DataRef
from batchdeploy.core.partitions import value_problems
from batchdeploy.core.records import DataPin
from batchdeploy.errors import BatchdeployError, DataError, Problem, SourceError
from batchdeploy.ports import Source


class DvcWorkspace:
    """The workspace's partitions, and those that DVC records and that are not in the workspace.

    A partition's folder in the workspace is read as it is. One that is recorded only is fetched into the
    cache and read from there; the workspace stays as it is (``data.fetch: true``).

    Args:
        folder: reads the workspace.
        recorded: reads what DVC records.
    """

    def __init__(self, folder: Source, recorded: Source) -> None:
        self._folder = folder
        self._recorded = recorded

    def partitions(self, ref: DataRef) -> tuple[str, ...]:
        """All values of the partition column, in the workspace or recorded, sorted."""
        recorded = self._recorded.partitions(ref)
        return tuple(sorted({*recorded, *self._here(ref)}))

    def partition_problems(self, ref: DataRef) -> tuple[Problem, ...]:
        """Problems of partition folders, in the workspace or recorded."""
        here = self._folder.partition_problems(ref) if self._here(ref) else ()
        return tuple(dict.fromkeys([*here, *value_problems(self._recorded.partitions(ref), ref.partition)]))

    def pin(self, ref: DataRef, partition: str) -> DataPin:
        """Pins the partition's files in the workspace, or else those that DVC records."""
        source = self._folder if partition in self._here(ref) else self._recorded
        return source.pin(ref, partition)

    def changes(self, ref: DataRef, partition: str, pin: DataPin) -> tuple[Problem, ...]:
        """What changed since the partition was pinned, in the workspace or in DVC's cache."""
        source = self._folder if partition in self._here(ref) else self._recorded
        return source.changes(ref, partition, pin)

    def _here(self, ref: DataRef) -> tuple[str, ...]:
        try:
            return self._folder.partitions(ref)
        except DataError:
            return ()


def recorded_md5s(root: Path, folder: Path) -> dict[str, str] | None:
    """The MD5 of each file that the workspace's dvc.lock or .dvc files record below a folder.

    None if the folder is not tracked, or its listing is not in the cache.
    """
    return _recorded(root, folder, _stamp(root, folder))


def pull_command(root: Path, path: str) -> str | None:
    """The command that brings a path into the workspace; None if DVC does not record it.

    Args:
        root: the project's root.
        path: a tracked folder or something in it, relative to the root.
    """
    from dvc.exceptions import DvcException

    try:
        with opened(root) as repo:
            if not is_recorded(repo, path_in(repo, root, path)):
                return None
    except (DvcException, BatchdeployError):
        # The hint is left out; the problem is reported either way.
        return None
    return f"dvc --cd {shlex.quote(str(root))} pull {shlex.quote(path)}"


def fetched_file(root: Path, path: str) -> Path | None:
    """A file that the workspace's DVC files record, in the cache; fetched if it is not there.

    None if DVC does not record it.

    Args:
        root: the project's root.
        path: of the file, relative to the root.

    Raises:
        SourceError: it is neither in the cache nor can it be fetched, or has other content there.
    """
    with translated(path, root, path), opened(root) as repo:
        bring = partial(fetch, root, repo, where=path)
        found = recorded_file(repo, path_in(repo, root, path), bring)
        if found is None:
            return None
        if not os.path.isfile(found.location):
            bring([found])
    if md5_of(found.location) != found.md5:
        problem = Problem(path, "the DVC cache holds other content than was recorded", found.location)
        raise SourceError(path, (problem,), hint="remove it there and run again")
    return Path(found.location)


def _stamp(root: Path, folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, mtime and size of a folder's DVC files, as a cache key that changes with their content."""
    # Each partition may be tracked by a file of its own.
    found = [
        (str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in sorted(folder.glob("*.dvc"))
    ]
    for place in (folder, *folder.parents):
        for file in (place / "dvc.lock", place / "dvc.yaml", place.with_name(f"{place.name}.dvc")):
            if file.is_file():
                status = file.stat()
                found.append((str(file), status.st_mtime_ns, status.st_size))
        if place == root:
            break
    return tuple(found)


@lru_cache(maxsize=8)
def _recorded(root: Path, folder: Path, stamp: tuple[Any, ...]) -> dict[str, str] | None:  # noqa: ARG001
    # DVC takes almost half a second to open a repository, and a backfill pins hundreds of partitions.
    from dvc.exceptions import DvcException

    try:
        with opened(root) as repo:
            found = files_below(repo, path_in(repo, root, str(folder)), None)
            return {path: one.md5 for path, one in found.items()}
    except (DvcException, BatchdeployError):
        # This only labels the origin of the rows; the pin is computed from the files.
        return None
