"""Pins and their hashes: the run id, digests of file lists. Checks a partition's value."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from batchdeploy.core import FORBID_UNKNOWN
from batchdeploy.core.calendar import canonical_key
from batchdeploy.core.partition_names import NULL, escape
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.errors import DataError, PartitionError, Problem

# NOTE: without the device number, which differs between machines on a network filesystem.
Identity = tuple[int, int, int, int]
RUN_ID_DIGITS = 16
PARTITION = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
# The longest name that filesystems take, in bytes.
NAME_BYTES = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a signature or of a data schema; ``type`` is MLflow's or Arrow's own name for it."""

    __pydantic_config__ = FORBID_UNKNOWN
    name: str
    type: str
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInput:
    """One tensor that a model takes, and the columns that fill it.

    Attributes:
        name: its name in the signature; null for the only tensor, which is then passed as an array and not in
            a dictionary.
        dtype: NumPy's name of its type.
        shape: of one row.
        columns: one for each value of a row, in C order, or one that holds a list of them for each row.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    name: str | None
    dtype: str
    shape: tuple[int, ...]
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPin:
    """Exactly one model: the registry's version, its immutable id and the digest of its files.

    Attributes:
        digest: SHA-256 over the sorted (path, SHA-256) pairs of the model's files.
        inputs: the columns that the model needs; a list for each row has a type such as ``Array(double)``, or
            ``Array(float)[12]`` where its length is fixed.
        returns: ``frame`` if the output's columns have names, ``array`` if they have positions, ``struct`` if
            there are structs among them, ``unknown`` if the signature does not say.
        outputs: the columns of the model's output; those of an array are named "0", "1", ..., the fields of a
            struct ``result.score``.
        params: the params that are passed with every batch, the model's defaults included; empty if the
            model takes none.
        tensors: how the inputs are put together; empty if the model takes a frame of them.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    name: str
    version: int
    model_id: str
    digest: str
    alias: str | None
    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...]
    returns: Literal["frame", "array", "struct", "unknown"]
    params: dict[str, Any] = field(default_factory=dict)
    tensors: tuple[TensorInput, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PathColumn:
    """A column whose value a folder's name gives to all rows of a file, such as ``country=US``.

    Attributes:
        value: the folder's text, unescaped; None for ``__HIVE_DEFAULT_PARTITION__``.
        type: the Arrow type of the column: a table's own, or the one that the model's signature asks for,
            else ``string``.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    name: str
    value: str | None
    type: str = "string"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionKey:
    """One partition: the column, its value, and how the value writes a date or time.

    Attributes:
        key_format: ``strftime`` format of the values of dates and timestamps.
        timezone: in which timestamps with a time zone are written.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    column: str
    value: str
    key_format: str
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePin:
    """One input file: its path inside the data folder, what pins its content, and where to read it.

    A local file is pinned by its MD5, an object by its version where the bucket keeps versions, else by its
    ETag, size and modification time.

    Attributes:
        md5: of the content; empty for an object.
        location: an absolute path, or the URI of an object: ``s3://bucket/key``, its key as it is.
        identity: inode, size and times from `identity_of`, which change with every write. Equal identities of
            two files do not imply equal content.
        etag: as the store gives it, without its quotes; None for a local file.
        version: the object's version, in a bucket that keeps versions.
        modified: when the object was stored, ISO 8601 in UTC. Stores answer with whole seconds.
        path_columns: the columns that the file's folders give to all of its rows, but the partition column.
        row_groups: those that hold rows of the partition, where an ordinary column tells the partition;
            None where all rows of the file are the partition's.
        rows: how many rows of the partition these hold.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    path: str
    md5: str
    size: int
    location: str
    identity: Identity | None = field(default=None, compare=False)
    etag: str | None = None
    version: str | None = None
    modified: str | None = None
    path_columns: tuple[PathColumn, ...] = ()
    row_groups: tuple[int, ...] | None = None
    rows: int | None = None

    @property
    def fingerprint(self) -> str:
        """What tells this content from any other under the same path."""
        if self.md5:
            return self.md5
        if self.version is not None:
            return f"version {self.version}"
        return f"{self.etag} {self.size} {self.modified}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupPin:
    """Exactly the table of one lookup, and what of it the rows of a partition may see.

    Attributes:
        path: as written in the deployment.
        keys, columns: (name in the rows, name in the table).
        as_of: the column that tells from when a row is valid; None for a table without time.
        until: when the partition ended, ISO 8601 with its offset; only rows that were valid before are seen.
        rev: the version of a Delta table, the snapshot id of an Iceberg table; null for plain files.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    path: str
    keys: tuple[tuple[str, str], ...]
    columns: tuple[tuple[str, str], ...]
    as_of: str | None
    until: str | None
    files: tuple[FilePin, ...]
    storage: StorageSpec = StorageSpec()
    format: Literal["parquet", "delta", "iceberg"] = "parquet"
    rev: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPin:
    """Exactly the files of one partition.

    Attributes:
        rev: the full git commit the files were pinned at, or null for the workspace; the version of a Delta
            table, the snapshot id of an Iceberg table.
        tracked: ``dvc`` if the files are those that DVC recorded, ``modified`` if they differ from them,
            ``plain`` if they are not tracked; the format of a table, whose versions keep them; ``catalog``.
        digest: MD5 over the sorted (path, fingerprint) pairs of the files, those of lookups included.
        storage: how to reach the store that holds the files.
        partition: the partition that the rows belong to.
        lookups: the tables whose columns the rows get.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    path: str
    rev: str | None
    tracked: Literal["dvc", "modified", "plain", "delta", "iceberg", "catalog"]
    digest: str
    files: tuple[FilePin, ...]
    storage: StorageSpec = StorageSpec()
    partition: PartitionKey | None = None
    lookups: tuple[LookupPin, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPin:
    """A small file of the project (suite, reference), pinned by the SHA-256 of its bytes."""

    __pydantic_config__ = FORBID_UNKNOWN
    path: str
    sha256: str


def identity_of(found: os.stat_result) -> Identity:
    """Inode, size, mtime and ctime of a file; times in nanoseconds."""
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def check_partition(column: str, value: str, key_format: str | None = None) -> str:
    """Returns the value if it is valid as the name of one partition folder.

    Args:
        column: the partition column.
        value: the value to check.
        key_format: the format of its values; a date in another notation would name another folder.

    Raises:
        PartitionError: it is empty, longer than 200 characters or than a folder's name can be, contains
            control characters or a step to the folder above, or is a date in another notation than the key
            format's; the hint gives the right one.
    """
    steps = value == NULL or not {".", ".."}.isdisjoint(re.split(r"[/\\]", value))
    too_long = len(f"{column}={escape(value)}".encode(errors="replace")) > NAME_BYTES
    if not PARTITION.fullmatch(value) or steps or too_long:
        raise PartitionError(column, (Problem(column, "not a partition's value", repr(value)),))
    with suppress(ValueError):
        if key_format is not None and (right := canonical_key(value, key_format)) is not None:
            problem = Problem(column, f"is not written as {key_format!r}", value)
            raise PartitionError(column, (problem,), hint=f"write {right}")
    return value


def digest_files(pairs: Iterable[tuple[str, str]]) -> str:
    """MD5 (hex) over the sorted (path, digest) pairs, independent of their order."""
    digest = hashlib.md5(usedforsecurity=False)
    for path, file_digest in sorted(pairs):
        digest.update(f"{file_digest}  {path}\n".encode())
    return digest.hexdigest()


def pin_changes(before: DataPin, pin: Callable[[], DataPin]) -> tuple[Problem, ...]:
    """What changed since a partition was pinned, by file; empty if nothing did.

    Args:
        before: the pin.
        pin: pins the partition again, as it is now.
    """
    try:
        found = pin().files
    except PartitionError:
        found = ()
    return file_changes(before.files, found)


def file_changes(before: Iterable[FilePin], after: Iterable[FilePin]) -> tuple[Problem, ...]:
    """What changed between two states of pinned files, by file."""
    now = {file.path: file.fingerprint for file in after}
    old = {file.path: file.fingerprint for file in before}
    gone = (Problem(path, "was deleted since it was pinned") for path in old if path not in now)
    other = (
        Problem(path, "changed since it was pinned") for path in old if now.get(path, old[path]) != old[path]
    )
    new = (Problem(path, "was added since the partition was pinned") for path in now if path not in old)
    return tuple(sorted((*gone, *other, *new)))


def input_changed(pin: DataPin, problems: tuple[Problem, ...]) -> DataError:
    """The error to raise where the input is no longer the pinned one."""
    return DataError(pin.path, problems, hint="run it again; nothing was published")


def digest_model(pairs: Iterable[tuple[str, str]]) -> str:
    """SHA-256 (hex) over the sorted (path, SHA-256) pairs of a model's files."""
    digest = hashlib.sha256()
    for path, file_digest in sorted(pairs):
        digest.update(f"{file_digest}  {path}\n".encode())
    return digest.hexdigest()


def run_id(pins: bytes) -> str:
    """The first 16 hex digits of the SHA-256 of the pins' canonical bytes."""
    return hashlib.sha256(pins).hexdigest()[:RUN_ID_DIGITS]
