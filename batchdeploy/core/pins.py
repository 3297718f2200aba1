"""Pins, and hashes of them: the run id, and digests over lists of files. A partition's value, checked."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from batchdeploy.core import FORBID_UNKNOWN
from batchdeploy.core.calendar import canonical_key
from batchdeploy.errors import PartitionError, Problem

# NOTE: no device: that of a network filesystem is another one on each machine.
Identity = tuple[int, int, int, int]
RUN_ID_DIGITS = 16
PARTITION = re.compile(r"[^\x00-\x1f\x7f/\\=%*?\[\]{}]{1,200}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a signature or of a data schema; ``type`` is MLflow's or Arrow's own name for it."""

    __pydantic_config__ = FORBID_UNKNOWN
    name: str
    type: str
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPin:
    """Exactly one model: the registry's version, its immutable id and the digest of its files.

    Attributes:
        digest: SHA-256 over the sorted (path, SHA-256) pairs of the model's files.
        returns: ``frame`` where the answer's columns have names, ``array`` where they have positions,
            ``unknown`` where the signature does not say.
        outputs: the answer's columns; those of an array are named "0", "1", ...
    """

    __pydantic_config__ = FORBID_UNKNOWN
    name: str
    version: int
    model_id: str
    digest: str
    alias: str | None
    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...]
    returns: Literal["frame", "array", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePin:
    """One input file: its name inside the data folder, what is in it, and where to read it.

    Attributes:
        identity: what the file cannot be written to without changing, as `identity_of` tells it; it says of
            no two files that they hold the same.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    path: str
    md5: str
    size: int
    location: str
    identity: Identity | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPin:
    """Exactly the files of one partition.

    Attributes:
        rev: the full git commit the files were pinned at, or null for the workspace.
        tracked: whether the files are those DVC recorded (``dvc``), differ from them (``modified``),
            or are not tracked at all (``plain``).
        digest: MD5 over the sorted (path, MD5) pairs of the files.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    path: str
    rev: str | None
    tracked: Literal["dvc", "modified", "plain"]
    digest: str
    files: tuple[FilePin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPin:
    """A small file of the project (suite, reference), pinned by the SHA-256 of its bytes."""

    __pydantic_config__ = FORBID_UNKNOWN
    path: str
    sha256: str


def identity_of(found: os.stat_result) -> Identity:
    """Inode, size and times of a file, in nanoseconds."""
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def check_partition(column: str, value: str, key_format: str | None = None) -> str:
    """The value again, where it can be the name of one folder and nothing else.

    Args:
        column: the partition column.
        value: what somebody gave for a value of it.
        key_format: how its values are written; a date that is written otherwise names another folder.

    Raises:
        PartitionError: empty, over 200 characters, with characters that paths or globs read, or a date that
            is not written as the key format writes it; with how it is.
    """
    if not PARTITION.fullmatch(value) or value in (".", "..", "__HIVE_DEFAULT_PARTITION__"):
        raise PartitionError(column, (Problem(column, "not a partition's value", repr(value)),))
    with suppress(ValueError):
        if key_format is not None and (right := canonical_key(value, key_format)) is not None:
            problem = Problem(column, f"is not written as {key_format!r}", value)
            raise PartitionError(column, (problem,), hint=f"write {right}")
    return value


def digest_files(pairs: Iterable[tuple[str, str]]) -> str:
    """MD5 (hex) over the sorted (path, digest) pairs; the same for any order of listing."""
    digest = hashlib.md5(usedforsecurity=False)
    for path, file_digest in sorted(pairs):
        digest.update(f"{file_digest}  {path}\n".encode())
    return digest.hexdigest()


def digest_model(pairs: Iterable[tuple[str, str]]) -> str:
    """SHA-256 (hex) over the sorted (path, SHA-256) pairs of a model's files."""
    digest = hashlib.sha256()
    for path, file_digest in sorted(pairs):
        digest.update(f"{file_digest}  {path}\n".encode())
    return digest.hexdigest()


def run_id(pins: bytes) -> str:
    """16 hex digits that stand for exactly these pins (their canonical bytes)."""
    return hashlib.sha256(pins).hexdigest()[:RUN_ID_DIGITS]
