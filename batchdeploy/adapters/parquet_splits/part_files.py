"""Writes the Parquet files of a split: to a folder, or straight to an object store."""

from __future__ import annotations

import hashlib
import io
import os
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from batchdeploy.core.locations import is_uri
from batchdeploy.core.records import OutputFile
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.storage.opening import open_location, plain_store_errors


class PartFile:
    """One Parquet file, created with the first batch and complete after its ``with`` block.

    In an object store it is not there at all after an exception.

    Args:
        folder: the path or URI of its folder.
        name: the file's name.
        storage: how the store of a URI is reached.
        durable: whether a local file is flushed to the disk.

    Raises:
        OSError: the file cannot be written or read back.
    """

    def __init__(self, folder: str, name: str, storage: StorageSpec, *, durable: bool) -> None:
        self._folder = folder
        self._name = name
        self._durable = durable
        self._store = open_location(folder, storage) if is_uri(folder) else None
        self._path = Path(folder, name)
        self._rows = 0
        self._stream: _HashingStream | None = None
        self._writer: pq.ParquetWriter | None = None
        self._opened = ExitStack()

    def __enter__(self) -> PartFile:
        return self

    def __exit__(self, *error: Any) -> None:
        with plain_store_errors(self._folder):
            self._opened.__exit__(*error)

    @property
    def empty(self) -> bool:
        """Whether no batch was written, so that there is no file."""
        return self._writer is None

    def write(self, batch: pa.RecordBatch) -> None:
        """Appends a batch."""
        if self._writer is None:
            writer = pq.ParquetWriter(self._create(), batch.schema, write_page_checksum=True)
            self._writer = self._opened.enter_context(writer)
        self._writer.write_batch(batch)
        self._rows += batch.num_rows

    def written(self) -> OutputFile | None:
        """The record of the complete file; None if it is empty."""
        if self._writer is None:
            return None
        if self._stream is not None:
            size, digest = self._stream.size, self._stream.digest.hexdigest()
            return OutputFile(path=self._name, rows=self._rows, size=size, sha256=digest)
        # A local file is hashed by a second read, from memory: hashing while it is written is slower.
        with self._path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            if self._durable:
                os.fsync(stream.fileno())
        return OutputFile(path=self._name, rows=self._rows, size=self._path.stat().st_size, sha256=digest)

    def open(self) -> AbstractContextManager[Path | BinaryIO]:
        """Opens the complete file for reading, as pyarrow takes it."""
        return nullcontext(self._path) if self._store is None else self._store.open_input(self._name)

    def _create(self) -> Path | BinaryIO:
        if self._store is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return self._path
        target = self._opened.enter_context(self._store.open_output(self._name))
        self._stream = _HashingStream(target, self._folder)
        return self._stream  # type: ignore[return-value]


class _HashingStream(io.RawIOBase):
    """Passes on what is written, and computes its SHA-256 and size in bytes."""

    def __init__(self, target: BinaryIO, folder: str) -> None:
        self._target = target
        self._folder = folder
        self.digest = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        with plain_store_errors(self._folder):
            self._target.write(content)
        self.digest.update(content)
        self.size += len(content)
        return len(content)
