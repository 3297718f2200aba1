"""Reads partitions as DVC recorded them, from its content-addressed cache, which it fills from the remote."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

from batchdeploy.adapters.sources.dvc.fetching import fetch
from batchdeploy.adapters.sources.dvc.in_place import StoredObject, find_in_place
from batchdeploy.adapters.sources.dvc.recorded import DvcObject, Fetch, files_below, folder_names, md5_of
from batchdeploy.adapters.sources.dvc.repository import commit_of, opened, path_in, translated
from batchdeploy.core.deployment import DataRef, PartitionSpec
from batchdeploy.core.hive_layout import (
    Entry,
    PartitionFolders,
    lister,
    partition_files,
    partition_folders,
    path_columns,
)
from batchdeploy.core.partition_names import parse_folder
from batchdeploy.core.partitions import value_problems
from batchdeploy.core.pins import digest_files, identity_of
from batchdeploy.core.records import DataPin, FilePin
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.errors import DataError, PartitionError, Problem, SourceError


class DvcSource:
    """Reads what DVC recorded, without a checkout: at ``data.rev``, or in the workspace's own files.

    Listing partitions fetches at most the listing of the folder; pinning a partition fetches its files, and
    no others. With ``data.fetch: false`` nothing is fetched.

    Args:
        root: the project's root; must be inside a DVC repository.
        in_place: whether files that the cache lacks are left in an S3 remote, for workers that read them
            there.
    """

    def __init__(self, root: Path, *, in_place: bool = False) -> None:
        self._root = root
        self._in_place = in_place

    def partitions(self, ref: DataRef) -> tuple[str, ...]:
        """All values of the partition column that are recorded, sorted."""
        with self._opened(ref) as (repo, bring):
            found = _folders(repo, path_in(repo, self._root, ref.path), bring, ref.partition)
        if not found.values:
            raise DataError(ref.path, f"no folder named {ref.partition.column}=VALUE {_when(ref)}")
        return found.values

    def partition_problems(self, ref: DataRef) -> tuple[Problem, ...]:
        """Problems of partition folders whose names are not valid values."""
        return tuple(value_problems(self.partitions(ref), ref.partition))

    def pin(self, ref: DataRef, partition: str) -> DataPin:
        """Pins the partition's files by their recorded MD5, with their places in the cache.

        Fetches what the cache lacks of them, unless it can stay in the remote.

        Raises:
            PartitionError: no such partition is recorded.
            SourceError: a file is neither in the cache nor can it be fetched, or its content does not match
                its hash.
        """
        with self._opened(ref) as (repo, bring):
            data = path_in(repo, self._root, ref.path)
            folders = _folders(repo, data, bring, ref.partition).by_value.get(partition, ())
            recorded: dict[str, DvcObject] = {}
            for folder in folders:
                recorded |= files_below(repo, data, bring, name=folder.key)
            # Whether a file without an ending is Parquet shows when its footer is read.
            listed = lister(map(Entry, recorded))
            entries, problems = partition_files(listed, folders if recorded else (), lambda _: True)
            if problems:
                raise DataError(_where(ref), tuple(problems))
            if not entries:
                problem = Problem(ref.partition.column, "no such partition", partition)
                raise PartitionError(_where(ref), (problem,))
            wanted = {entry.key: recorded[entry.key] for entry in entries}
            missing = [one for one in wanted.values() if not os.path.isfile(one.location)]
            remote = self._leave(repo, missing, ref)
            if missing and remote is None:
                bring(missing)
            commit = commit_of(repo)
        stored, storage = remote or ({}, StorageSpec())
        files = [
            _pin_object(path, one, stored[one.oid], ref) for path, one in wanted.items() if one.oid in stored
        ]
        files += self._pin_files(ref, {p: one for p, one in wanted.items() if one.oid not in stored})
        digest = digest_files((file.path, file.md5) for file in files)
        return DataPin(
            path=ref.path,
            rev=commit,
            tracked="dvc",
            digest=digest,
            files=tuple(sorted(files, key=attrgetter("path"))),
            storage=storage,
        )

    def _leave(
        self, repo: Any, missing: Sequence[DvcObject], ref: DataRef
    ) -> tuple[dict[str, StoredObject], StorageSpec] | None:
        """Objects that can stay in the remote; None if they have to be fetched."""
        if not self._in_place or not missing or ref.fetch is False:
            return None
        return find_in_place(repo, missing)

    def changes(self, ref: DataRef, partition: str, pin: DataPin) -> tuple[Problem, ...]:  # noqa: ARG002
        """What the cache no longer holds as it was pinned; the commit's own files do not change."""
        return tuple(
            Problem(file.path, "changed in the DVC cache since it was pinned", file.location)
            for file in pin.files
            if not _is_pinned(file)
        )

    def _pin_files(self, ref: DataRef, wanted: dict[str, DvcObject]) -> Iterator[FilePin]:
        # NOTE: must run before hashing, so that a write in between is noticed.
        seen = {path: os.stat(one.location) for path, one in wanted.items()}
        # DVC itself does not verify its cache.
        spoilt = [path for path, one in wanted.items() if md5_of(one.location) != one.md5]
        if spoilt:
            problems = tuple(
                Problem(path, "the DVC cache holds other content than was recorded", wanted[path].location)
                for path in spoilt
            )
            then = "run again" if ref.fetch is not False else f"then {_fetching(self._root, ref)}"
            raise SourceError(_where(ref), problems, hint=f"remove them there, {then}")
        for path, one in wanted.items():
            status = seen[path]
            yield FilePin(
                path=path,
                md5=one.md5,
                size=status.st_size,
                location=one.location,
                identity=identity_of(status),
                path_columns=path_columns(path, ref.partition),
            )

    @contextmanager
    def _opened(self, ref: DataRef) -> Iterator[tuple[Any, Fetch]]:
        """The repository, and what brings objects into its cache, or refuses to."""
        with translated(_where(ref), self._root, ref.path), opened(self._root, ref.dvc_rev) as repo:
            if ref.fetch is False:
                yield repo, partial(self._refuse, ref)
            else:
                yield repo, partial(fetch, self._root, repo, where=_where(ref))

    def _refuse(self, ref: DataRef, missing: Sequence[DvcObject]) -> None:
        problems = tuple(Problem(one.name, "not in the DVC cache") for one in missing)
        raise SourceError(_where(ref), problems, hint=_fetching(self._root, ref))


def _is_pinned(file: FilePin) -> bool:
    if file.etag is not None:
        # Every read of an object was of the ETag that is its MD5.
        return True
    try:
        return identity_of(os.stat(file.location)) == file.identity or md5_of(file.location) == file.md5
    except OSError:
        return False


def _pin_object(path: str, recorded: DvcObject, stored: StoredObject, ref: DataRef) -> FilePin:
    return FilePin(
        path=path,
        md5=recorded.md5,
        size=stored.size,
        location=stored.location,
        etag=recorded.md5,
        modified=stored.modified,
        path_columns=path_columns(path, ref.partition),
    )


def _folders(repo: Any, data: str, bring: Fetch, spec: PartitionSpec) -> PartitionFolders:
    """The partitions' folders. Those right below the data are known without the listings of each."""
    names = folder_names(repo, data, bring)
    found = partition_folders(lister(Entry(f"{name}/.") for name in names), spec)
    if found.values or not any(parse_folder(name) for name in names):
        return found
    return partition_folders(lister(map(Entry, files_below(repo, data, bring))), spec)


def _where(ref: DataRef) -> str:
    return f"{ref.path} {_when(ref)}"


def _when(ref: DataRef) -> str:
    return "as DVC records it" if ref.rev is None else f"at {ref.rev}"


def _fetching(root: Path, ref: DataRef) -> str:
    """The command that fetches a revision's objects; `dvc pull` fetches only those of the workspace."""
    dvc = f"dvc --cd {shlex.quote(str(root))}"
    fetching = f"{dvc} fetch --all-commits {shlex.quote(ref.path)}"
    # DVC reads a revision's remotes from that revision, and the local settings always.
    with opened(root, ref.dvc_rev) as then, opened(root) as now:
        if _urls(then):
            return fetching
        for name, url in _urls(now).items():
            return f"{dvc} remote add --local -d {shlex.quote(name)} {shlex.quote(url)} && {fetching}"
    return f"{dvc} remote add --local -d NAME URL && {fetching}: no remote is known here that could have them"


def _urls(repo: Any) -> dict[str, str]:
    """Name and URL of each configured remote, the default first; leaves out DVC's generated remote."""
    named = {name: str(found["url"]) for name, found in repo.config.get("remote", {}).items()}
    named.pop("auto-generated-upstream", None)
    default = repo.config.get("core", {}).get("remote")
    return dict(sorted(named.items(), key=lambda item: item[0] != default))
