"""The pointer document ``current.json``: published files, earlier generations, and expiring files."""

from __future__ import annotations

import time
from typing import Any

from batchdeploy.core.deployment import PublishSpec

# NOTE: an attempt's files are stored before the pointer names them, and the steps of an orchestrator may be
# days apart. Files that nobody names are removed at this age, and none older than half of it is published.
ORPHAN_SECONDS = 7 * 86_400.0
# How long the pointer lists files that fell out of it; later their own age tells that they may go.
DROPPED_SECONDS = 86_400.0


def with_entry(
    document: dict[str, Any], folder: str, entry: dict[str, Any], spec: PublishSpec
) -> dict[str, Any]:
    """The document with a newly published run; the previous run becomes an earlier generation.

    Args:
        document: the document as read.
        folder: the partition's folder name.
        entry: the run, its attempt, its files and its manifest.
        spec: the number of generations to keep, and the longest time that a reader may take.
    """
    before = document["partitions"].get(folder)
    recent = [] if before is None else before["recent"]
    earlier = [] if before is None else [_bare(before), *before["earlier"]]
    kept = [old for old in earlier if old["run_id"] != entry["run_id"]][: spec.keep_generations]
    full = _bare(entry) | {"recent": recent, "earlier": kept}
    partitions = {**document["partitions"], folder: full}
    files = [file["path"] for _, one in sorted(partitions.items()) for file in one["files"]]
    now, stays = time.time(), {path for one in (full, *kept) for path in paths_of(one)}
    out = sorted({path for one in earlier for path in paths_of(one)} - stays)
    # Older files are deleted by the rule for files that no generation names.
    grace = max(DROPPED_SECONDS, spec.reader_seconds)
    dropped = [one for one in document.get("dropped", ()) if now - one["since"] < grace]
    dropped += [{"since": now, "paths": out}] if out else []
    changed = {"version": document["version"] + 1, "partitions": partitions, "files": files}
    return document | changed | {"dropped": dropped}


def paths_of(entry: dict[str, Any]) -> list[str]:
    """The paths of all stored files of a run."""
    return [*(file["path"] for file in entry["files"]), entry["manifest"]]


def _bare(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in ("recent", "earlier")}
