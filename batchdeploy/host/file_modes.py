"""Who may read what a control folder keeps: those who may enter the folder."""

from __future__ import annotations

import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from batchdeploy.core.layout import CONTROL


def make_folder(folder: Path) -> None:
    """Makes a folder; a control folder that comes into being by that is its owner's from the first moment."""
    if (control := _control(folder / "file")) is not None:
        control.mkdir(0o700, parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)


def restrict(*files: Path) -> None:
    """Gives files the mode of the control folder that they lie in, without execute bits: 0600 for 0700.

    Files elsewhere, links, and files of another owner stay as they are.
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
    """As `restrict`, for all files below a folder that lie in none of some others."""
    places = [place for place in folder.iterdir() if place not in besides]
    files = [file for place in places for file in (place, *place.rglob("*")) if file.is_file()]
    restrict(*files)


def _control(file: Path) -> Path | None:
    """The control folder that a file lies in, or None."""
    return next((folder for folder in file.absolute().parents if folder.name.endswith(CONTROL)), None)
