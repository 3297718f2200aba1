"""Opens a project's DVC repository, in the workspace or at a git revision, without writing into it."""

from __future__ import annotations

import os
import posixpath
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from batchdeploy.core.path_hints import describe_lookup
from batchdeploy.errors import DataError, Problem, SourceError


@contextmanager
def opened(root: Path, rev: str | None = None) -> Iterator[Any]:
    """Yields DVC's repository at a revision, or of the workspace, without writing into the project.

    Suppresses deprecation warnings of DVC's dependencies, about which a user can do nothing.
    """
    with (
        warnings.catch_warnings(),
        tempfile.TemporaryDirectory(prefix="batchdeploy-") as scratch,
    ):
        warnings.simplefilter("ignore")
        config = {"core": {"site_cache_dir": scratch}}
        made = _reading()(str(root), config=config) if rev is None else _at(root, rev, config)
        with made as repo:
            yield repo


@contextmanager
def translated(where: str, root: Path, path: str) -> Iterator[None]:
    """Translates DVC's exceptions.

    Raises:
        DataError: no repository, no such revision, or DVC does not track the folder.
        SourceError: DVC failed otherwise.
    """
    from dvc.exceptions import DvcException, NotDvcRepoError, OutputNotFoundError
    from dvc.scm import SCMError

    try:
        yield
    except NotDvcRepoError:
        raise DataError(where, "not inside a DVC repository", hint="dvc init, or data.rev: null") from None
    except OutputNotFoundError:
        what = f"DVC does not track this folder there: {describe_lookup(path, root)}"
        raise DataError(where, what) from None
    except SCMError as error:
        raise DataError(where, (Problem("data.rev", "leads nowhere", str(error)),)) from None
    except DvcException as error:
        raise SourceError(where, (Problem("DVC", str(error)),)) from error


def path_in(repo: Any, root: Path, path: str) -> str:
    """A path of the project as the repository's own filesystem names it.

    Args:
        repo: from `opened`.
        root: the project's root.
        path: relative to the project's root.
    """
    place = os.path.normpath(root / path)
    if not _is_git(repo):
        return place
    return _inside(repo.scm.root_dir, Path(place))


def commit_of(repo: Any) -> str | None:
    """The full commit that the repository was opened at; None for the workspace."""
    return repo.get_rev() if _is_git(repo) else None


def _is_git(repo: Any) -> bool:
    from dvc.fs import GitFileSystem

    return isinstance(repo.fs, GitFileSystem)


def _at(root: Path, rev: str, config: dict[str, Any]) -> Any:
    from dvc.fs import GitFileSystem
    from dvc.scm import SCM

    scm = SCM(str(root))
    files = GitFileSystem(scm=scm, rev=rev)
    # DVC looks only in the uppermost folder of a revision unless it is given its filesystem.
    start = _inside(scm.root_dir, root)
    found = _reading().find_root(start, files)
    merged = {**config, **_relative_paths(files, found, scm.root_dir)}
    return _reading()(start, fs=files, scm=scm, config=merged)


def _inside(top: str, place: Path) -> str:
    """A path as a revision's filesystem names it, whose uppermost folder is ``/``."""
    parent = place.parent.resolve() / place.name if place.name else place.resolve()
    relative = os.path.relpath(parent, os.path.realpath(top))
    return posixpath.normpath(posixpath.join("/", *Path(relative).parts))


def _relative_paths(files: Any, found: str, top: str) -> dict[str, Any]:
    """The settings of a revision that are relative paths, as they lead from the workspace.

    DVC resolves a committed ``url = ../../store`` against ``/.dvc``, the folder's name inside the revision.
    """
    folder = Path(top, *Path(found.lstrip("/")).parts, ".dvc")
    local = _settings(str(folder / "config.local"))
    written = _settings(posixpath.join(found, ".dvc", "config"), files)
    urls = {
        name: {"url": os.path.normpath(folder / settings["url"])}
        for name, settings in written.get("remote", {}).items()
        if _is_relative(settings.get("url")) and "url" not in local.get("remote", {}).get(name, {})
    }
    cache_dir = written.get("cache", {}).get("dir")
    own = _is_relative(cache_dir) and "dir" not in local.get("cache", {})
    return {
        **({"remote": urls} if urls else {}),
        **({"cache": {"dir": os.path.normpath(folder / cache_dir)}} if own else {}),
    }


def _settings(file: str, files: Any = None) -> dict[str, Any]:
    from dvc.config import Config

    try:
        found: dict[str, Any] = Config.load_file(file, fs=files)
    except FileNotFoundError:
        return {}
    return found


def _is_relative(place: str | None) -> bool:
    """Whether a setting is a path that starts at the folder of its file; neither a URL nor below ``~``."""
    return place is not None and "://" not in place and not os.path.isabs(os.path.expanduser(place))


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
