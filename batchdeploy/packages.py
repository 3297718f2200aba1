"""Optional parts of the library: whether they are installed, and what to type where they are not."""

from __future__ import annotations

import importlib.util

from batchdeploy.errors import MissingPackageError, Problem


def need(module: str, extra: str) -> None:
    """Checks that an optional part is installed, without importing it.

    Raises:
        MissingPackageError: it is not; with what to type.
    """
    if importlib.util.find_spec(module) is None:
        raise MissingPackageError(
            "this Python", (Problem(module, "is not installed"),), hint=f"pip install 'batchdeploy[{extra}]'"
        )
