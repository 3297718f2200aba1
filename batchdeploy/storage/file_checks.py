"""Compares stored files with their records."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from io import SEEK_END
from typing import BinaryIO

from batchdeploy.core.records import OutputFile
from batchdeploy.errors import Problem
from batchdeploy.storage.interface import Storage

CHUNK = 2**20


def file_problems(storage: Storage, files: Mapping[str, OutputFile], *, content: bool) -> tuple[Problem, ...]:
    """One problem per stored file that differs from its record; empty if none does.

    Args:
        storage: the storage of the files.
        files: key to the record of the file.
        content: whether to read each file and compare its SHA-256; otherwise only sizes are compared.

    Raises:
        OSError: the storage does not answer.
    """
    return tuple(
        problem for key, file in files.items() for problem in _problems(storage, key, file, content=content)
    )


def _problems(storage: Storage, key: str, file: OutputFile, *, content: bool) -> Iterator[Problem]:
    try:
        stream = storage.open_input(key)
    except FileNotFoundError:
        yield Problem(key, "is not there")
        return
    with stream:
        size = stream.seek(0, SEEK_END)
        if size != file.size:
            yield Problem(key, f"was written with {file.size} bytes", f"{size} bytes")
        elif content and (found := _digest(stream)) != file.sha256:
            yield Problem(key, f"was written with SHA-256 {file.sha256}", found)


def _digest(stream: BinaryIO) -> str:
    digest = hashlib.sha256()
    stream.seek(0)
    while chunk := stream.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
