"""Reads pinned objects by ranges, in place; refuses an object that changed since it was pinned."""

from __future__ import annotations

import io
from typing import Any

import obstore
import pyarrow as pa

from batchdeploy.core.pins import FilePin
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.core.work import Split
from batchdeploy.errors import DataError, Problem
from batchdeploy.storage.object_failures import FAILURES, failure, was_replaced
from batchdeploy.storage.object_store import open_store, split_uri, unquoted

# The size of pyarrow's first read; most footers are smaller.
TAIL_BYTES = 64 * 1024


class PinnedObject:
    """One state of one object, as a `PinnedInput`.

    Its last bytes are cached, so that a footer is fetched once even if the file is opened several times.

    Args:
        file: the pinned object.
        storage: the deployment's settings for its store.
    """

    remote = True

    def __init__(self, file: FilePin | Split, storage: StorageSpec) -> None:
        self.size = file.size
        self._file = file
        bucket, self._key = split_uri(file.location)
        self._store = open_store(bucket, storage)
        self._tail_start, self._tail = file.size, b""

    def open(self) -> Any:
        """Opens a seekable stream that pyarrow accepts."""
        return pa.PythonFile(_Ranges(self), mode="r")

    def read(self, start: int, end: int) -> bytes:
        """Reads a range of bytes.

        Raises:
            DataError: the object was replaced or deleted since it was pinned.
            SourceError: the store failed.
        """
        start, end = min(start, self.size), min(end, self.size)
        if end <= start:
            return b""
        last = end == self.size
        if start < self._tail_start and (last or start >= self.size - TAIL_BYTES):
            first = min(start, max(0, self.size - TAIL_BYTES))
            self._tail = self._get(first, self._tail_start) + self._tail
            self._tail_start = first
        if start >= self._tail_start:
            return self._tail[start - self._tail_start : end - self._tail_start]
        return self._get(start, end)

    def _get(self, start: int, end: int) -> bytes:
        file = self._file
        options: dict[str, Any] = {"range": (start, end)}
        if file.etag is not None:
            # Azure lists without quotes what it answers with.
            options["if_match"] = f'"{file.etag}"' if not file.etag.startswith("W/") else file.etag
        if file.version is not None:
            options["version"] = file.version
        try:
            answer = obstore.get(self._store, self._key, options=options)
            meta, found = answer.meta, bytes(answer.bytes())
        except FAILURES as error:
            if was_replaced(error):
                raise _changed(file.path) from None
            raise failure(file.path, file.location, error) from None
        # NOTE: some S3-compatible stores ignore the condition.
        other = file.etag is not None and unquoted(meta["e_tag"]) not in (None, file.etag)
        if meta["size"] != file.size or other:
            raise _changed(file.path)
        if len(found) != end - start:
            raise failure(file.path, file.location, OSError("the store gave fewer bytes than it has"))
        return found


class _Ranges(io.RawIOBase):
    """A stream over a pinned object; each read makes at most one request."""

    def __init__(self, source: PinnedObject) -> None:
        self._source = source
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        end = self._source.size if size is None or size < 0 else self._at + size
        found = self._source.read(self._at, end)
        self._at += len(found)
        return found


def _changed(path: str) -> DataError:
    problem = Problem(path, "changed since it was pinned")
    return DataError(path, (problem,), hint="run it again; nothing was published")
