"""A folder for what a machine can make again, where the project's own folder cannot take it."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from batchdeploy.core.layout import Layout
from batchdeploy.core.output_ref import CONTROL
from batchdeploy.errors import OutsideError, Problem
from batchdeploy.host.project_root import checkout_of
from batchdeploy.redaction import logger

LOG = logger("batchdeploy")


def with_cache_folder(layout: Layout) -> Layout:
    """The layout of a table whose control folder is in a store, with a local folder that can be written.

    Fetched models and other things that can be made again lie there. Where the project is read-only, or is a
    checkout that Airflow deletes, a folder of this user takes them.

    Raises:
        OutsideError: this user has no folder to write to.
    """
    if layout.control_uri is None:
        return layout
    readable_only = not _can_write(layout.control)
    if not readable_only and checkout_of(layout.control) is None:
        return layout
    name = hashlib.sha256(layout.control_uri.encode()).hexdigest()[:12]
    folder = _user_folder() / f"{layout.table.name}-{name}{CONTROL}"
    if readable_only:
        LOG.warning("%s cannot be written; fetched models are kept in %s", layout.control.parent, folder)
    return replace(layout, control_folder=folder)


def _user_folder() -> Path:
    """A folder that belongs to this user alone."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.isabs(home) and _can_write(Path(home)):
        return Path(home, "batchdeploy")
    folder = Path(tempfile.gettempdir(), f"batchdeploy-{os.getuid()}")
    folder.mkdir(0o700, exist_ok=True)
    # NOTE: another user may have made it, to have their own model loaded.
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        problem = Problem(str(folder), "belongs to another user")
        raise OutsideError("the cache", (problem,), hint="set XDG_CACHE_HOME to a folder of this user")
    return folder


def _can_write(folder: Path) -> bool:
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return os.access(place, os.W_OK | os.X_OK)
