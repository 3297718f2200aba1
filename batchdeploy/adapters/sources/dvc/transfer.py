"""Downloads objects of DVC into a private folder, and moves them from there into its cache."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")
PREFIX = ".batchdeploy-"
# A remote that sends nothing for so long is given up, whatever its own client would still try.
STALL_SECONDS = 120.0
# Folders of downloads that were killed; no download goes without a byte for nearly as long.
LEFTOVER_SECONDS = 86_400.0


def download(remote: Any, sources: Mapping[str, str], scratch: Path) -> dict[str, BaseException]:
    """Copies objects into a folder laid out as DVC's cache; gives the errors of those that failed."""
    from dvc.fs import localfs
    from dvc_data.hashfile.db import get_odb

    errors: dict[str, BaseException] = {}
    into: Any = get_odb(localfs, str(scratch), hash_name="md5")  # type: ignore[no-untyped-call]
    into.add(
        list(sources.values()),
        remote.fs,
        list(sources),
        check_exists=False,
        batch_size=remote.fs.jobs,
        on_error=errors.setdefault,
    )
    return errors


def watched(progress: Callable[[], int], work: Callable[[], T]) -> T:
    """What the work returns, unless it makes no progress.

    Not every remote's client has a time limit. The thread of one that hangs is left to itself.

    Args:
        progress: a number that changes while the work goes on.
        work: runs in a thread.

    Raises:
        TimeoutError: there was no progress for `STALL_SECONDS`.
    """
    results: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001
            raised.append(error)

    thread = Thread(target=run, name="batchdeploy-dvc-fetch", daemon=True)
    thread.start()
    last, since = progress(), time.monotonic()
    while thread.is_alive():
        thread.join(0.1)
        if (now := progress()) != last:
            last, since = now, time.monotonic()
        elif thread.is_alive() and time.monotonic() - since > STALL_SECONDS:
            raise TimeoutError(f"sent nothing for {STALL_SECONDS:g} seconds")
    for error in raised:
        raise error
    return results[0]


def bytes_in(folder: Path) -> int:
    """The bytes of all files below a folder."""
    size = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):
            size += file.stat().st_size
    return size


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """A private folder on the cache's filesystem; takes away those that killed processes left."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{PREFIX}*"):
        with suppress(FileNotFoundError):
            if old.stat().st_mtime < time.time() - LEFTOVER_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def place(cache: Any, file: Path, location: str) -> None:
    """Moves a verified object to its place in DVC's cache, unless another process was faster."""
    cache.makedirs(os.path.dirname(location))
    cache.protect(str(file))
    try:
        # NOTE: a rename would replace the object under a run that reads it.
        os.link(file, location)
    except FileExistsError:
        return
    except OSError:
        # A filesystem without hard links.
        os.replace(file, location)
