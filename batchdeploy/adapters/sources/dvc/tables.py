"""Finds a table's files as DVC recorded them, in its cache."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from batchdeploy.adapters.sources.dvc.fetching import fetch
from batchdeploy.adapters.sources.dvc.recorded import DvcObject, Fetch, files_below, md5_of, recorded_file
from batchdeploy.adapters.sources.dvc.repository import opened, path_in, translated
from batchdeploy.errors import Problem, SourceError


def recorded_table(root: Path, path: str, *, rev: str | None, fetches: bool) -> dict[str, Path] | None:
    """The files of a table in DVC's cache, by their paths in it; one of its own has the path ``""``.

    None if DVC does not record the path.

    Args:
        root: the project's root.
        path: a file or a folder, relative to the root.
        rev: a git revision; None for what the workspace records.
        fetches: whether files that the cache lacks are fetched from the remote.

    Raises:
        DataError: there is no such revision.
        SourceError: a file is neither in the cache nor can it be fetched, or has other content there.
    """
    where = path if rev is None else f"{path} at {rev}"
    with translated(where, root, path), opened(root, rev) as repo:
        bring = partial(fetch, root, repo, where=where) if fetches else partial(_refuse, where)
        found = _files(repo, path_in(repo, root, path), bring)
        if found is None:
            return None
        if missing := [one for one in found.values() if not os.path.isfile(one.location)]:
            bring(missing)
    if spoilt := [one for one in found.values() if md5_of(one.location) != one.md5]:
        what = "the DVC cache holds other content than was recorded"
        problems = tuple(Problem(one.name, what, one.location) for one in spoilt)
        raise SourceError(where, problems, hint="remove them there and run again")
    return {name: Path(one.location) for name, one in found.items()}


def _files(repo: Any, place: str, bring: Fetch) -> dict[str, DvcObject] | None:
    from dvc.exceptions import OutputNotFoundError

    if (one := recorded_file(repo, place, bring)) is not None:
        return {"": one}
    try:
        return files_below(repo, place, bring) or None
    except OutputNotFoundError:
        return None


def _refuse(where: str, missing: Sequence[DvcObject]) -> None:
    problems = tuple(Problem(one.name, "not in the DVC cache") for one in missing)
    raise SourceError(where, problems, hint="dvc fetch --all-commits, or data.fetch: true")
