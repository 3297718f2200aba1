"""File permissions in a control folder: whoever may enter the folder may read its files."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from contextlib import suppress
from errno import ENOTDIR
from pathlib import Path

from batchdeploy.core.output_ref import CONTROL


def make_folder(folder: Path) -> None:
    """Creates a folder; a control folder above it is created with mode 0700.

    Raises:
        NotADirectoryError: it, or one above it, is a file.
    """
    try:
        if (control := _control(folder / "file")) is not None:
            control.mkdir(0o700, parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(ENOTDIR, os.strerror(ENOTDIR), error.filename) from error


def restrict(*files: Path) -> None:
    """Sets files to the mode of their control folder, without execute bits: 0600 for 0700.

    Files elsewhere, links, and files of another owner are not changed.
    """
    control = _control(files[0]) if files else None
    if control is None:
        return
    try:
        mode = stat.S_IMODE(control.stat().st_mode) & 0o666
    except OSError:
        return
    for file in files:
        with suppress(OSError):
            if not file.is_symlink():
                file.chmod(mode)


def restrict_tree(folder: Path, *, besides: Collection[Path] = ()) -> None:
    """Applies `restrict` to all files below a folder, except those in ``besides``."""
    places = [place for place in folder.iterdir() if place not in besides]
    files = [file for place in places for file in (place, *place.rglob("*")) if file.is_file()]
    restrict(*files)


def _control(file: Path) -> Path | None:
    """The control folder above a file, or None."""
    return next((folder for folder in file.absolute().parents if folder.name.endswith(CONTROL)), None)
