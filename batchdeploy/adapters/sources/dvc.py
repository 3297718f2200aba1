"""Reads partitions at a DVC revision from DVC's content-addressed cache."""

from __future__ import annotations

import hashlib
import os
import shlex
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from batchdeploy.core.deployment import DataRef
from batchdeploy.core.partitions import value_problems
from batchdeploy.core.path_hints import describe_lookup
from batchdeploy.core.pins import digest_files, identity_of
from batchdeploy.core.records import DataPin, FilePin
from batchdeploy.errors import DataError, PartitionError, Problem, SourceError


class DvcSource:
    """Reads a revision from the DVC cache, without a checkout.

    Args:
        root: the project's root; must be inside a DVC repository.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def partitions(self, ref: DataRef) -> tuple[str, ...]:
        """All values of the partition column at the revision, sorted."""
        prefix = ref.partition.prefix
        with _recorded_at(self._root, ref) as (_, files, _locate):
            folders = {path.split("/", 1)[0] for path in files if path.startswith(prefix)}
        if not folders:
            raise DataError(ref.path, f"no folder named {prefix}VALUE at revision {ref.rev}")
        return tuple(sorted(folder.removeprefix(prefix) for folder in folders))

    def partition_problems(self, ref: DataRef) -> tuple[Problem, ...]:
        """Problems of partition folders whose names are not valid values."""
        return tuple(value_problems(self.partitions(ref), ref.partition))

    def pin(self, ref: DataRef, partition: str) -> DataPin:
        """Pins the partition's files: their MD5 at the revision and their location in the cache.

        Raises:
            PartitionError: the partition does not exist at the revision.
            SourceError: the cache lacks a file, or its content does not match its hash.
        """
        prefix = f"{ref.partition.folder(partition)}/"
        with _recorded_at(self._root, ref) as (commit, recorded, locate):
            wanted = {path: md5 for path, md5 in sorted(recorded.items()) if path.startswith(prefix)}
            located = {path: locate(md5) for path, md5 in wanted.items()}
        if not wanted:
            raise PartitionError(
                f"{ref.path} at {ref.rev}", (Problem(ref.partition.column, "no such partition", partition),)
            )
        missing = [path for path, location in located.items() if not os.path.isfile(location)]
        if missing:
            problems = tuple(Problem(path, "not in the DVC cache") for path in missing)
            raise SourceError(f"{ref.path} at {ref.rev}", problems, hint=_fetching(self._root, ref))
        # NOTE: must run before hashing, so that a write in between is noticed.
        seen = {path: os.stat(location) for path, location in located.items()}
        # DVC itself does not verify its cache.
        spoilt = [path for path, location in located.items() if _md5(location) != wanted[path]]
        if spoilt:
            problems = tuple(
                Problem(path, "the DVC cache holds other content than was recorded", located[path])
                for path in spoilt
            )
            hint = f"remove them there, then {_fetching(self._root, ref)}"
            raise SourceError(f"{ref.path} at {ref.rev}", problems, hint=hint)
        files = tuple(
            FilePin(
                path=path,
                md5=wanted[path],
                size=seen[path].st_size,
                location=location,
                identity=identity_of(seen[path]),
            )
            for path, location in located.items()
        )
        digest = digest_files(wanted.items())
        return DataPin(path=ref.path, rev=commit, tracked="dvc", digest=digest, files=files)


def _fetching(root: Path, ref: DataRef) -> str:
    """The command that fetches a revision's objects; `dvc pull` fetches only those of the workspace."""
    dvc = f"dvc --cd {shlex.quote(str(root))}"
    fetch = f"{dvc} fetch --all-commits {shlex.quote(ref.path)}"
    # DVC reads a revision's remotes from that revision, and the local settings always.
    with _opened(root, ref.rev) as then, _opened(root) as now:
        if _remotes(then):
            return fetch
        for name, url in _remotes(now).items():
            return f"{dvc} remote add --local -d {shlex.quote(name)} {shlex.quote(url)} && {fetch}"
    return f"{dvc} remote add --local -d NAME URL && {fetch}: no remote is known here that could have them"


def _remotes(repo: Any) -> dict[str, str]:
    """Name and URL of each configured remote, the default first; leaves out DVC's generated remote."""
    named = {name: str(found["url"]) for name, found in repo.config.get("remote", {}).items()}
    named.pop("auto-generated-upstream", None)
    default = repo.config.get("core", {}).get("remote")
    return dict(sorted(named.items(), key=lambda item: item[0] != default))


def _md5(location: str) -> str:
    with open(location, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def recorded_md5s(root: Path, folder: Path) -> dict[str, str] | None:
    """The MD5 of each file of a data folder from dvc.lock or its .dvc file; None if it is untracked."""
    return _recorded(root, folder, _stamp(root, folder))


def _stamp(root: Path, folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, mtime and size of a folder's DVC files, as a cache key that changes with their content."""
    found = []
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
    from dvc.exceptions import DvcException, NotDvcRepoError, OutputNotFoundError

    try:
        with _opened(root) as repo:
            found = repo.find_outs_by_path(str(folder))[0].get_obj()
            return None if found is None else _md5s(found)
    except (DvcException, OutputNotFoundError, NotDvcRepoError):
        # This only labels the origin of the rows; the pin is computed from the files.
        return None


@contextmanager
def _recorded_at(root: Path, ref: DataRef) -> Iterator[tuple[str, dict[str, str], Any]]:
    from dvc.exceptions import DvcException, NotDvcRepoError, OutputNotFoundError
    from dvc.scm import SCMError

    where = f"{ref.path} at {ref.rev}"
    try:
        with _opened(root, ref.rev) as repo:
            out = repo.find_outs_by_path(f"/{ref.path.strip('/')}")[0]
            if not out.use_cache:
                raise DataError(
                    where, "DVC records it without keeping it (cache: false); no revision is stored"
                )
            found = out.get_obj()
            if found is None:
                what = "the folder's listing is not in the DVC cache"
                raise SourceError(where, what, hint=_fetching(root, ref))
            yield repo.get_rev(), _md5s(found), repo.cache.local.oid_to_path
    except NotDvcRepoError:
        raise DataError(where, "not inside a DVC repository", hint="dvc init, or data.rev: null") from None
    except OutputNotFoundError:
        what = f"DVC does not track this folder there: {describe_lookup(ref.path, root)}"
        raise DataError(where, what) from None
    except SCMError as error:
        raise DataError(where, (Problem("data.rev", "leads nowhere", str(error)),)) from None
    except DvcException as error:
        raise SourceError(where, (Problem("DVC", str(error)),)) from error


@contextmanager
def _opened(root: Path, rev: str | None = None) -> Iterator[Any]:
    """Opens the repository at a revision or the workspace, without writing into the project.

    Suppresses deprecation warnings of DVC's dependencies, about which a user can do nothing.
    """
    with (
        warnings.catch_warnings(),
        tempfile.TemporaryDirectory(prefix="batchdeploy-") as scratch,
    ):
        warnings.simplefilter("ignore")
        with _reading()(str(root), rev=rev, config={"core": {"site_cache_dir": scratch}}) as repo:
            yield repo


@cache
def _reading() -> Any:
    """DVC's repository class without the locks, state and `.gitignore` entry that it writes on opening."""
    from dvc.repo import Repo

    class Reading(Repo):  # type: ignore[misc]
        @property
        def tmp_dir(self) -> str:
            found: str = self.config["core"]["site_cache_dir"]
            return found

        def _ignore(self) -> None:
            """Leaves `.dvc/.gitignore` as it is."""

    return Reading


def _md5s(tree: Any) -> dict[str, str]:
    return {"/".join(key): info.value for key, _, info in tree}
