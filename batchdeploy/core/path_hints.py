"""Hints for messages about a path that does not exist: where it led, and what it is relative to."""

from __future__ import annotations

import os


def describe_lookup(path: str, root: str | os.PathLike[str]) -> str:
    """``looked for PATH``, with the root that a relative path starts from.

    Args:
        path: as written in the deployment.
        root: the project's root.
    """
    place = f"looked for {os.path.join(root, path)}"
    if os.path.isabs(path):
        return place
    return f"{place}; relative paths start at the project's root, {os.fspath(root)}"
