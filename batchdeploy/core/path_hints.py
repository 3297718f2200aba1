"""Hints for messages about a path that does not exist: where it led, and what it is relative to."""

from __future__ import annotations

import os
from urllib.parse import unquote


def is_remote(path: str) -> bool:
    """Whether a path is the URI of an object store."""
    return "://" in path and not path.startswith("file://")


def opens_by_name(location: str) -> bool:
    """Whether Spark reads a file that it is given by name.

    It leaves out names that begin with ``_`` or a dot, without a word, and Hadoop takes what is before a
    colon for a scheme.
    """
    name = location.rpartition("/")[2]
    return not name.startswith(("_", ".")) and ":" not in name


def local_path(path: str) -> str:
    """The path that a path or a ``file://`` URI stands for."""
    if not path.startswith("file://"):
        return path
    return unquote("/" + path.removeprefix("file://").partition("/")[2])


def describe_lookup(path: str, root: str | os.PathLike[str]) -> str:
    """``looked for PATH``, with the root that a relative path starts from.

    Args:
        path: as written in the deployment.
        root: the project's root.
    """
    path = local_path(path)
    place = f"looked for {os.path.join(root, path)}"
    if os.path.isabs(path):
        return place
    return f"{place}; relative paths start at the project's root, {os.fspath(root)}"
