"""Commits a pointer by compare-and-swap, repeated until the outcome is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tenacity

from batchdeploy.errors import PublishError
from batchdeploy.publishing.pointer_files import PointerFiles, Seen
from batchdeploy.storage.object_storage import storage_error

REMEMBERED = 20
LOST_RACES = 30
UNKNOWN = "whether it was published is not known; the same run again finds out, and publishes it once"
Change = Callable[[dict[str, Any]], dict[str, Any]]


class _Again(Exception):
    """The pointer must be read again: another publisher was first, or the outcome is unknown."""


def commit(
    files: PointerFiles, token: str, folder: str, change: Change, begin: Callable[[], None] | None = None
) -> None:
    """Replaces the pointer by compare-and-swap. After a lost response it reads the pointer before retrying.

    Args:
        files: the table's files.
        token: identifies this commit, so that it finds out whether it has happened already.
        folder: the partition's folder name.
        change: makes the new document of the one that was read; its errors end the commit.
        begin: called before each request that may replace the pointer; after its OSError none is sent.

    Raises:
        PublishError: the store did not answer for a minute; the hint says whether the outcome is unknown.
    """
    sent = False

    def replace(seen: Seen, document: dict[str, Any]) -> bool:
        nonlocal sent
        if begin is not None:
            begin()
        sent = True
        return files.replace(seen, document)

    tries = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(_Again),
        wait=tenacity.wait_random_exponential(multiplier=0.02, max=2),
        stop=tenacity.stop_after_attempt(LOST_RACES) | tenacity.stop_after_delay(90),
    )
    try:
        for one in tries:
            with one:
                _try(files, token, folder, change, replace)
    except tenacity.RetryError as error:
        cause = error.last_attempt.exception()
        hint = UNKNOWN if sent else "nothing was published; a retry may help"
        raise storage_error(files.target, "the pointer could not be replaced", cause, hint=hint) from error


def _try(
    files: PointerFiles,
    token: str,
    folder: str,
    change: Change,
    replace: Callable[[Seen, dict[str, Any]], bool],
) -> None:
    try:
        seen = files.read()
    except PublishError as error:
        raise _Again(str(error.problems[0])) from error
    recent = (seen.document["partitions"].get(folder) or {"recent": []})["recent"]
    if token in recent:
        return
    document = change(seen.document)
    document["partitions"][folder]["recent"] = [token, *recent][:REMEMBERED]
    try:
        replaced = replace(seen, document)
    except OSError as error:
        raise _Again(str(error)) from error
    if not replaced:
        raise _Again("another publisher was first")
