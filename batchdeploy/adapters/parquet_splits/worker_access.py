"""Tries on a worker what its tasks will do: read the input, and read and write where their files go."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from batchdeploy.adapters.parquet_splits.pinned_files import open_pinned
from batchdeploy.core.locations import is_uri
from batchdeploy.core.system_errors import reason
from batchdeploy.core.work import AttemptFolders, Split, WorkerCheck, WorkerProblem
from batchdeploy.errors import BatchdeployError, DataError, EngineError, Problem
from batchdeploy.storage.interface import write
from batchdeploy.storage.opening import open_location, plain_store_errors

MARK = "written-by-the-driver"
# What this process has found, by token: of the many tasks that ask, the first one in a process tries.
_found: dict[str, tuple[WorkerProblem, ...]] = {}


def access_check(folders: AttemptFolders, splits: Sequence[Split]) -> WorkerCheck:
    """Stores a token in scratch, and returns what each worker tries before the first task.

    Args:
        folders: where the attempt's files go.
        splits: the first one's file stands for all.

    Raises:
        OSError: the token cannot be stored in a folder.
        EngineError: it cannot be stored in an object store.
    """
    token, first = uuid.uuid4().hex, next(iter(splits), None)
    try:
        with plain_store_errors(folders.scratch):
            write(open_location(folders.scratch, folders.storage), MARK, token.encode())
    except OSError as error:
        if not is_uri(folders.scratch):
            raise
        hint = "nothing was published; the driver needs to write there as well"
        raise EngineError("scratch", (Problem("the driver", reason(error)),), hint=hint) from None
    places = (folders.scratch.removesuffix(folders.name), first.location.partition("=")[0] if first else "")
    return WorkerCheck(place=" ".join(places), run=partial(access_problems, folders, token, first))


def access_problems(folders: AttemptFolders, token: str, split: Split | None) -> tuple[WorkerProblem, ...]:
    """What this process cannot do that a task must; tried once for each token."""
    if token not in _found:
        _found[token] = tuple(_problems(folders, token, split))
    return _found[token]


def _problems(folders: AttemptFolders, token: str, split: Split | None) -> Iterator[WorkerProblem]:
    if split is not None:
        yield from _tried(split.location, lambda: _read_input(split))
    found = tuple(_tried(folders.scratch, lambda: _read_token(folders, token)))
    yield from found
    for place in () if found else (folders.scratch, folders.scored):
        yield from _tried(place, lambda place=place: _write_file(place, folders))  # type: ignore[misc]


def _tried(place: str, attempt: Callable[[], None]) -> Iterator[WorkerProblem]:
    """A problem if the attempt fails."""
    try:
        with plain_store_errors(place):
            attempt()
    except ImportError as error:
        yield WorkerProblem("package", place, f"needs the package {error.name}, which is missing")
    except BatchdeployError as error:
        yield WorkerProblem("store" if is_uri(place) else "disk", place, str(error.problems[0]))
    except OSError as error:
        yield WorkerProblem("store" if is_uri(place) else "disk", place, reason(error))


def _read_input(split: Split) -> None:
    if is_uri(split.location):
        with open_pinned(split) as pinned, pinned.open() as stream:
            stream.read(4)
    else:
        # Its content is compared with the pin when it is scored; that may read all of it.
        Path(split.location).open("rb").close()


def _read_token(folders: AttemptFolders, token: str) -> None:
    stored = open_location(folders.scratch, folders.storage).read(MARK)
    if stored is None:
        raise DataError(folders.scratch, "what the driver has written there is not to be found")
    if stored.content != token.encode():
        raise DataError(folders.scratch, "is another place than the one that the driver has written to")


def _write_file(place: str, folders: AttemptFolders) -> None:
    if not is_uri(place):
        tempfile.NamedTemporaryFile(dir=place, prefix=".access-").close()
        return
    storage, key = open_location(place, folders.storage), f"access-{uuid.uuid4().hex[:12]}"
    write(storage, key, b"")
    storage.delete(key)
