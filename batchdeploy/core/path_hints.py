"""What the relative paths of a deployment start from, for whoever looks for what is not there."""

from __future__ import annotations

import os


def describe_lookup(path: str, root: str | os.PathLike[str]) -> str:
    """Where a path of a deployment led, and why there.

    Args:
        path: as the deployment has it.
        root: the project's root.
    """
    place = f"looked for {os.path.join(root, path)}"
    if os.path.isabs(path):
        return place
    return f"{place}; relative paths start at the project's root, {os.fspath(root)}"
