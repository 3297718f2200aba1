"""Objects, and the one pointer that is replaced by compare-and-swap; in S3, GCS, Azure, or a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import LocalStore, from_url

from batchdeploy.core.layout import Layout
from batchdeploy.errors import Problem, PublishError
from batchdeploy.storage.files import Disk
from batchdeploy.storage.locking import locked

POINTER = "current.json"
FORMAT = "batchdeploy.pointer/1"
# NOTE: the client's own tries of one request; `PointerSink` looks up what it cannot know the outcome of.
TRIES = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}
SETTINGS = "its account and region come from the environment, as obstore reads it"
FAILURES = (BaseError, OSError, NotImplementedError)


class Seen(NamedTuple):
    """The pointer as it was read, and what tells this state from any other (None: no pointer)."""

    document: dict[str, Any]
    token: dict[str, str] | None


class Objects:
    """The objects of one table.

    Args:
        target: a URI whose credentials come from the environment, or a local folder.
        layout: the table's control folder, whose lock stands in for compare-and-swap on a filesystem.
        disk: how to write where the table is a folder.
        seconds: how long to wait for that lock.
    """

    def __init__(self, target: str, layout: Layout, disk: Disk, seconds: float) -> None:
        self.target = target
        self._local = "://" not in target
        self._layout = layout
        self._disk = disk
        self._seconds = seconds
        try:
            if self._local:
                self._store: Any = LocalStore(target, mkdir=True)
            else:
                self._store = from_url(target, retry_config=TRIES)
        except (*FAILURES, ValueError, TypeError) as error:
            raise storage_error(target, "cannot be opened", error, hint=SETTINGS) from error

    def read(self) -> Seen:
        """The pointer; an empty one where nothing was ever published.

        Raises:
            PublishError: the store does not answer, or holds something else under the pointer's name.
        """
        try:
            answer = obstore.get(self._store, POINTER)
            document = json.loads(bytes(answer.bytes()))
        except FileNotFoundError:
            return Seen({"format": FORMAT, "version": 0, "partitions": {}, "files": []}, None)
        except (*FAILURES, ValueError) as error:
            raise storage_error(self.target, f"{POINTER} cannot be read", error) from error
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise storage_error(self.target, f"{POINTER} is not one of batchdeploy's", document)
        # NOTE: S3 and Azure compare the tag, GCS the version; either may be missing elsewhere.
        token = {name: answer.meta.get(name) for name in ("e_tag", "version")}
        return Seen(document, {name: value for name, value in token.items() if value is not None})

    def replace(self, seen: Seen, document: dict[str, Any]) -> bool:
        """Puts another pointer in place of the one that was seen. False where it is another one by now.

        Raises:
            OSError, BaseError: the outcome is unknown: the answer may have been lost on its way.
        """
        mode: Any = "create" if seen.token is None else seen.token
        text = json.dumps(document, separators=(",", ":"))
        try:
            if not self._local:
                obstore.put(self._store, POINTER, text.encode(), mode=mode, use_multipart=False)
                return True
            with locked(self._layout, self._seconds):
                if self.read().token != seen.token:
                    return False
                self._disk.write(Path(self.target, POINTER), text)
                return True
        except (PreconditionError, AlreadyExistsError):
            return False

    def upload(self, file: Path, path: str) -> None:
        """Stores a file under a path that no other attempt uses; the same again does no harm.

        Raises:
            PublishError: it is not there whole afterwards.
        """
        try:
            if self._local:
                self._disk.copy(file, Path(self.target, path))
            else:
                obstore.put(self._store, path, file)
            stored = obstore.head(self._store, path)["size"]
        except FAILURES as error:
            raise storage_error(self.target, f"{path} cannot be stored", error) from error
        if stored != (size := file.stat().st_size):
            raise storage_error(self.target, f"{path} is there with another size than {size}", stored)

    def write(self, path: str, text: str) -> None:
        """Stores a text under a path that no other attempt uses."""
        try:
            if self._local:
                self._disk.write(Path(self.target, path), text)
            else:
                obstore.put(self._store, path, text.encode(), use_multipart=False)
        except FAILURES as error:
            raise storage_error(self.target, f"{path} cannot be stored", error) from error

    def missing(self, paths: Iterable[str]) -> list[str]:
        """Those of the paths that nothing is stored under."""
        found = []
        for path in paths:
            try:
                obstore.head(self._store, path)
            except FileNotFoundError:
                found.append(path)
            except FAILURES as error:
                raise storage_error(self.target, f"{path} cannot be looked up", error) from error
        return found

    def text(self, path: str) -> str | None:
        """A stored text, or None."""
        try:
            return bytes(obstore.get(self._store, path).bytes()).decode()
        except FileNotFoundError:
            return None
        except FAILURES as error:
            raise storage_error(self.target, f"{path} cannot be read", error) from error

    def listed(self, prefix: str) -> Iterator[tuple[str, float]]:
        """Each object below a prefix, with the time it was stored, in seconds since the epoch."""
        try:
            for chunk in obstore.list(self._store, prefix):
                for entry in chunk:
                    yield entry["path"], entry["last_modified"].timestamp()
        except FAILURES as error:
            raise storage_error(self.target, f"{prefix} cannot be listed", error) from error

    def delete(self, path: str) -> None:
        """Removes an object, where it is still there."""
        with suppress(FileNotFoundError):
            try:
                obstore.delete(self._store, path)
            except FileNotFoundError:
                raise
            except FAILURES as error:
                raise storage_error(self.target, f"{path} cannot be removed", error) from error


def storage_error(target: str, what: str, found: object, *, hint: str = "a retry may help") -> PublishError:
    """A failure of the store, with what it said first."""
    got = str(found).strip().splitlines()
    problem = Problem(target, what, got[0] if got else None)
    return PublishError("the published table", (problem,), hint=hint)
