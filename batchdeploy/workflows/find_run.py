"""Finds a run's folder by its id, by a prefix of its id, or by the folder itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from batchdeploy.core.layout import PLAN
from batchdeploy.core.locations import Location, as_location, is_uri
from batchdeploy.core.output_ref import CONTROL
from batchdeploy.errors import Problem, RequestError
from batchdeploy.storage.run_records import RunRecords

SEARCH_DEPTH = 5
SHOWN = 3
Opened = Callable[[Location], RunRecords]


def find_run(text: str, root: Location, *, records_in: Opened, hint: str | None = None) -> Location:
    """Finds the folder of a run or an attempt.

    Args:
        text: the run's folder or its URI, its id, or a prefix of its id or of its attempt's name.
        root: the control folder of the run, or a local folder to search for control folders.
        records_in: opens the records in a folder.
        hint: the hint of the error if no run matches.

    Raises:
        RequestError: no run matches, or several do.
    """
    if is_uri(text) or (Path(text) / PLAN).is_file():
        return as_location(text)
    found = find_runs(root, text, records_in=records_in)
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"{folder.parent.name}/{folder.name}" for folder in found[:SHOWN])
    problem = Problem(text, "no such run" if not found else "several runs match", names or None)
    hint = "give more of its id, or the run's folder" if found else hint
    raise RequestError(f"the runs below {root}", (problem,), hint=hint)


def find_runs(root: Location, beginning: str, *, records_in: Opened) -> list[Location]:
    """The folders of all runs and attempts below a root with this prefix in their name."""
    if not beginning.isalnum():
        return []
    controls: Iterable[Location] = [root]
    if isinstance(root, Path) and not root.name.endswith(CONTROL):
        controls = _controls(root)
    found = ((control, key) for control in controls for key in records_in(control).lookup(beginning))
    return sorted((control / key for control, key in found), key=str)


def _controls(root: Path) -> Iterator[Path]:
    """Yields the control folders a few levels below a root; skips environments, caches and partitions."""
    for folder, names, _ in os.walk(root):
        names[:] = [n for n in names if not n.startswith(".") and "=" not in n and n != "node_modules"]
        yield from (Path(folder, name) for name in names if name.endswith(CONTROL))
        deep = len(Path(folder).relative_to(root).parts) >= SEARCH_DEPTH
        names[:] = [] if deep else [n for n in names if not n.endswith(CONTROL)]
