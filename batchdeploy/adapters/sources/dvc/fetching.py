"""Fetches objects from DVC's remotes into its cache."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from batchdeploy.adapters.sources.dvc.recorded import DvcObject, md5_of
from batchdeploy.adapters.sources.dvc.repository import opened
from batchdeploy.adapters.sources.dvc.transfer import bytes_in, download, place, scratch_folder, watched
from batchdeploy.errors import MissingPackageError, Problem, SourceError

NO_BUCKET = re.compile(r"(?i)(bucket|container) does not exist|NoSuchBucket|ContainerNotFound")


@dataclass(kw_only=True)
class _Lacking:
    """What is still to be brought, and why it was not.

    Attributes:
        objects: by their hashes; two files with the same content are one object.
        remotes: the remotes that were asked, as messages name them.
        spoilt: hash to the remote's object with other content.
        failed: remote to its error, where it could not be read.
    """

    objects: dict[str, DvcObject]
    remotes: list[str] = field(default_factory=list)
    spoilt: dict[str, str] = field(default_factory=dict)
    failed: dict[str, BaseException] = field(default_factory=dict)


def fetch(root: Path, repo: Any, wanted: Sequence[DvcObject], *, where: str) -> None:
    """Brings objects into the cache, from the remote that the revision names, else the workspace's.

    An object becomes visible in the cache once its content has its hash, and is never replaced there, so
    that concurrent runs may fetch the same objects.

    Args:
        root: the project's root.
        repo: the repository, opened at the revision.
        wanted: objects that the cache lacks.
        where: what is read, for messages.

    Raises:
        MissingPackageError: DVC's plugin for the remote is not installed.
        SourceError: no remote has an object, holds it as it was recorded, or answers.
    """
    if not wanted:
        return
    lacking = _Lacking(objects={one.oid: one for one in wanted})
    for name in sorted({one.out.remote for one in wanted}, key=str):
        for remote in _remotes(root, repo, name):
            there = [one for one in lacking.objects.values() if one.out.remote == name]
            if there:
                _bring(remote, there, lacking, Path(repo.cache.local.path).parent)
            # The next remote is that of the workspace, which takes DVC almost half a second to open.
            if not any(one.out.remote == name for one in lacking.objects.values()):
                break
    if lacking.objects:
        raise _error(lacking, where)


def _bring(remote: Any, wanted: Sequence[DvcObject], lacking: _Lacking, folder: Path) -> None:
    """Downloads what a remote has of the objects, and moves the good ones into the cache."""
    lacking.remotes.append(_label(remote))
    if remote.fs.protocol == "local" and not remote.fs.isdir(remote.path):
        lacking.failed[_label(remote)] = FileNotFoundError("there is no such folder; is it mounted?")
        return
    with scratch_folder(folder) as scratch:
        sources = {one.oid: source_path(remote, one) for one in wanted}
        try:
            errors = watched(lambda: bytes_in(scratch), lambda: download(remote, sources, scratch))
        except Exception as error:  # noqa: BLE001
            # Each remote's client raises exceptions of its own.
            lacking.failed[_label(remote)] = error
            return
        for one in wanted:
            file = scratch / one.oid[:2] / one.oid[2:]
            if file.is_file() and md5_of(str(file)) == one.md5:
                place(one.out.cache, file, one.location)
                del lacking.objects[one.oid]
            elif one.oid not in errors:
                lacking.spoilt[one.oid] = remote.fs.unstrip_protocol(sources[one.oid])
            elif not _is_missing(errors[one.oid]):
                lacking.failed[_label(remote)] = errors[one.oid]


def _remotes(root: Path, repo: Any, name: str | None) -> Iterator[Any]:
    """The remote of the revision, and then that of the workspace if it is another one."""
    first = usable_remote(repo, name)
    if first is not None:
        yield first
    with opened(root) as now:
        second = usable_remote(now, name)
        if second is not None and (first is None or _identity(second) != _identity(first)):
            yield second


def _identity(remote: Any) -> tuple[Any, ...]:
    return (remote.fs.protocol, remote.path, remote.fs.config)


def usable_remote(repo: Any, name: str | None) -> Any | None:
    """The remote of this name, else the default one; None if the repository has neither.

    Raises:
        MissingPackageError: DVC's plugin for it is not installed.
    """
    from dvc.config import NoRemoteError, RemoteNotFoundError
    from dvc.fs import RemoteMissingDepsError

    try:
        return repo.cloud.get_remote(name)
    except (NoRemoteError, RemoteNotFoundError):
        return None
    except (ImportError, RemoteMissingDepsError) as error:
        remote = name or repo.config["core"]["remote"]
        url = repo.config["remote"][remote]["url"]
        kind = urlsplit(url).scheme.removesuffix("s") if url.startswith("webdav") else urlsplit(url).scheme
        problem = Problem(f"DVC remote {remote}", f"needs dvc-{kind}, which is not installed", url)
        raise MissingPackageError("this Python", (problem,), hint=f"pip install dvc-{kind}") from error


def source_path(remote: Any, wanted: DvcObject) -> str:
    """The path of an object in a remote: by its hash, or by its name and version."""
    from dvc.cachemgr import LEGACY_HASH_NAMES

    if remote.fs.version_aware:
        repo = wanted.out.repo
        place: str = remote.fs.join(remote.path, *repo.fs.relparts(wanted.path, repo.root_dir))
        return place if wanted.version is None else remote.fs.version_path(place, wanted.version)
    legacy = wanted.out.hash_name in LEGACY_HASH_NAMES
    path: str = (remote.legacy_odb if legacy else remote.odb).oid_to_path(wanted.oid)
    return path


def _is_missing(error: BaseException) -> bool:
    """Whether it says that the object is not there, rather than the bucket."""
    return isinstance(error, FileNotFoundError) and not NO_BUCKET.search(str(error))


def _label(remote: Any) -> str:
    return f"DVC remote {remote.name} ({remote.fs.unstrip_protocol(remote.path)})"


def _error(lacking: _Lacking, where: str) -> SourceError:
    left = lacking.objects.values()
    if not lacking.remotes:
        what = "not in the DVC cache, and no remote is known here that could have it"
        problems = [Problem(one.name, what) for one in left]
        return SourceError(where, tuple(problems), hint="dvc remote add --local -d NAME URL")
    problems = [
        Problem(remote, f"cannot be read: {error or type(error).__name__}")
        for remote, error in lacking.failed.items()
    ]
    problems += [
        Problem(one.name, f"the remote holds other content than was recorded: {lacking.spoilt[one.oid]}")
        for one in left
        if one.oid in lacking.spoilt
    ]
    hint = "check the remote's address and credentials (dvc remote modify --local), then run again"
    if not lacking.failed:
        what = f"neither in the DVC cache nor in {' or '.join(lacking.remotes)}"
        problems += [Problem(one.name, what) for one in left if one.oid not in lacking.spoilt]
        hint = "where these files still are: dvc push"
        if lacking.spoilt:
            hint = "remove the spoilt objects from the remote; where the files still are: dvc push"
    return SourceError(where, tuple(problems), hint=hint)
