"""Who may read what a control folder keeps: those who may enter the folder."""

from __future__ import annotations

import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from batchdeploy.core.layout import CONTROL


def restrict(*files: Path) -> None:
    """Gives files the mode of the control folder that they lie in, without execute bits: 0600 for 0700.

    Files elsewhere, links, and files of another owner stay as they are.
    """
    above = files[0].absolute().parents if files else ()
    control = next((folder for folder in above if folder.name.endswith(CONTROL)), None)
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
