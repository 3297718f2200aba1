"""What DVC records of a folder: its files, each with the hash of its content and its place in the cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from batchdeploy.errors import DataError, Problem, SourceError


@dataclass(frozen=True, slots=True, kw_only=True)
class DvcObject:
    """One object of DVC's stores: the content of a file, or the listing of a folder.

    Attributes:
        path: the file, as the repository's filesystem names it.
        oid: the MD5 of its content (hex); that of a listing ends in ``.dir``.
        location: its place in the cache, whether it is there or not.
        out: DVC's output that the file belongs to.
        version: the version id of a remote that keeps files by their names; None for other remotes.
    """

    path: str
    oid: str
    location: str
    out: Any
    version: str | None = None

    @property
    def md5(self) -> str:
        return self.oid.removesuffix(".dir")

    @property
    def name(self) -> str:
        """The file as messages name it."""
        files, top = self.out.repo.fs, self.out.repo.root_dir
        name = "/".join(files.relparts(self.path, top))
        return f"{name} (listing of the folder)" if self.oid.endswith(".dir") else name


Fetch = Callable[[Sequence[DvcObject]], None]


def folder_names(repo: Any, folder: str, fetch: Fetch | None) -> set[str]:
    """The names of the folders right below a tracked folder.

    Args:
        repo: the opened repository.
        folder: a folder in it.
        fetch: brings a listing that the cache lacks; None fetches nothing.

    Raises:
        OutputNotFoundError: DVC tracks neither the folder nor anything in it.
        SourceError: a listing is neither in the cache nor can it be fetched.
    """
    names = set()
    for out in _outs(repo, folder):
        # Where each partition is tracked by itself, its name is known without its listing.
        below = repo.fs.isin(out.fs_path, folder)
        paths = [f"{out.fs_path}/"] if below and out.is_dir_checksum else _files(out, fetch)
        names |= {parts[0] for path in paths if len(parts := _below(path, folder)) > 1}
    return names


def files_below(
    repo: Any, folder: str, fetch: Fetch | None, *, name: str | None = None
) -> dict[str, DvcObject]:
    """The files that are recorded below a folder, by their paths in it.

    Args:
        repo: the opened repository.
        folder: a folder in it.
        fetch: brings a listing that the cache lacks; None fetches nothing.
        name: only files of this folder in it.

    Raises:
        OutputNotFoundError: DVC tracks neither the folder nor anything in it.
        SourceError: a listing is neither in the cache nor can it be fetched.
    """
    wanted = folder if name is None else repo.fs.join(folder, name)
    found = {}
    for out in _outs(repo, folder):
        if _overlap(repo, out, wanted):
            found.update(_files(out, fetch))
    return {"/".join(_below(path, folder)): file for path, file in found.items() if _below(path, wanted)}


def recorded_file(repo: Any, path: str, fetch: Fetch | None) -> DvcObject | None:
    """A tracked file, or one in a tracked folder; None if DVC does not record it.

    Raises:
        SourceError: the folder's listing is neither in the cache nor can it be fetched.
    """
    for out in repo.index.outs:
        if out.use_cache and _overlap(repo, out, path) and (found := _files(out, fetch).get(path)):
            return found
    return None


def is_recorded(repo: Any, path: str) -> bool:
    """Whether a path is that of a tracked file or folder, or may lie in one whose listing is not here."""
    for out in repo.index.outs:
        if out.use_cache and _overlap(repo, out, path):
            if repo.fs.isin_or_eq(out.fs_path, path):
                return True
            try:
                files = _files(out, None)
            except SourceError:
                return True
            if any(file == path or _below(file, path) for file in files):
                return True
    return False


def md5_of(location: str) -> str:
    """The MD5 (hex) of a file's content."""
    with open(location, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _outs(repo: Any, folder: str) -> list[Any]:
    """The outputs that hold a folder, or lie in it."""
    from dvc.exceptions import OutputNotFoundError

    found = [out for out in repo.index.outs if _overlap(repo, out, folder)]
    if not found:
        raise OutputNotFoundError(folder, repo)
    for out in found:
        if not out.use_cache:
            what = "DVC records it without keeping it (cache: false); no revision is stored"
            raise DataError(out.def_path, what)
    return found


def _overlap(repo: Any, out: Any, folder: str) -> bool:
    """Whether an output holds a folder, or lies in it."""
    inside = repo.fs.isin_or_eq(folder, out.fs_path) or repo.fs.isin(out.fs_path, folder)
    return out.protocol == "local" and bool(inside)


def _files(out: Any, fetch: Fetch | None) -> dict[str, DvcObject]:
    """The files of an output, by their paths."""
    if not out.hash_info and not out.files:
        raise DataError(out.def_path, "DVC has no hash of it yet; dvc repro, or dvc commit, records it")
    if not out.is_dir_checksum and not out.files:
        return {out.fs_path: _object(out, out.fs_path, out.hash_info, out.meta)}
    _bring_listing(out, fetch)
    return {
        path: _object(out, path, info, meta)
        for key, meta, info in out.get_obj()
        for path in (out.fs.join(out.fs_path, *key),)
    }


def _bring_listing(out: Any, fetch: Fetch | None) -> None:
    """Makes sure that the cache has the folder's listing, with the content that its name promises."""
    if out.files or out.obj:
        return
    listing = _object(out, out.fs_path, out.hash_info, None)
    if not os.path.isfile(listing.location):
        if fetch is None:
            raise SourceError(out.def_path, "the folder's listing is not in the DVC cache")
        fetch([listing])
    if md5_of(listing.location) != listing.md5:
        what = "the DVC cache holds another listing of the folder than was recorded"
        problem = Problem(out.def_path, what, listing.location)
        raise SourceError(out.def_path, (problem,), hint="remove it there and run again")


def _object(out: Any, path: str, info: Any, meta: Any) -> DvcObject:
    location = out.cache.oid_to_path(info.value)
    version = None if meta is None else meta.version_id
    return DvcObject(path=path, oid=info.value, location=location, out=out, version=version)


def _below(path: str, folder: str) -> tuple[str, ...]:
    """The parts of a path below a folder; empty if it does not lie in it."""
    prefix = folder.rstrip("/") + "/"
    return tuple(path.removeprefix(prefix).split("/")) if path.startswith(prefix) else ()
