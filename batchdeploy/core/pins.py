"""Hashes of pins: the run id, and digests over lists of files. A partition's value, checked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from batchdeploy.errors import PartitionError, Problem

RUN_ID_DIGITS = 16
PARTITION = re.compile(r"[^\x00-\x1f\x7f/\\=%*?\[\]{}]{1,200}")


def check_partition(column: str, value: str) -> str:
    """The value again, where it can be the name of one folder and nothing else.

    Raises:
        PartitionError: empty, over 200 characters, or with characters that paths or globs read.
    """
    if not PARTITION.fullmatch(value) or value in (".", "..", "__HIVE_DEFAULT_PARTITION__"):
        raise PartitionError(column, (Problem(column, "not a partition's value", repr(value)),))
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
