"""The rules of hive-partitioned Parquet over relative keys: what is data, what is skipped, what is wrong.

Sources list folders, objects or recorded files and ask here, so that all of them read the same files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import NamedTuple
from urllib.parse import unquote

from batchdeploy.core.deployment import PartitionSpec
from batchdeploy.errors import Problem

# Marker files that writers leave beside their data and that readers skip.
MARKERS = {"_SUCCESS", "_metadata", "_common_metadata", ".gitignore", ".DS_Store"}
MARKER_PREFIXES = ("_committed_", "_started_", "_SUCCESS")
SUFFIX = ".parquet"


class Entry(NamedTuple):
    """One file, object or folder below the data's path.

    Attributes:
        key: its path relative to the data's, with ``/`` between folders: ``date=2013-02-01/a.parquet``.
        size: bytes; 0 for a folder.
        is_file: whether it is a regular file or an object, and no folder, pipe or the like.
        failure: why it cannot be looked at, if it cannot.
    """

    key: str
    size: int = 0
    is_file: bool = True
    failure: str | None = None

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rsplit("/", 1)[-1]


def is_marker(name: str) -> bool:
    """Whether a name is one that writers leave beside their data and that readers skip."""
    return name in MARKERS or name.startswith(MARKER_PREFIXES) or name.endswith(".crc")


def data_files(entries: Iterable[Entry]) -> tuple[list[Entry], list[Problem]]:
    """The Parquet files among the entries of a partition's folder by key, and problems of other entries."""
    files, problems = [], []
    for entry in sorted(entries, key=attrgetter("key")):
        if is_marker(entry.name):
            continue
        if (problem := _entry_problem(entry)) is None:
            files.append(entry)
        else:
            problems.append(problem)
    return files, problems


def _entry_problem(entry: Entry) -> Problem | None:
    if entry.failure is not None:
        return Problem(entry.key, "cannot be read", entry.failure)
    if not is_text(entry.name):
        return Problem(entry.key, "has a name that is not UTF-8; rename it")
    if not entry.is_file or not entry.name.endswith(SUFFIX):
        return Problem(entry.key, "not a Parquet file")
    if entry.name.startswith(("_", ".")):
        text = "has a name that Spark and others skip: its rows would be missing; rename or remove it"
        return Problem(entry.key, text)
    return None


def is_text(name: str) -> bool:
    """Whether a name is valid Unicode; others can be opened, but not recorded or shown."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def partition_values(folders: Iterable[str], spec: PartitionSpec) -> tuple[str, ...]:
    """The values of the partition column among the names of folders, sorted."""
    return tuple(sorted(name.removeprefix(spec.prefix) for name in folders if name.startswith(spec.prefix)))


def ambiguous_values(values: Iterable[str], value: str, spec: PartitionSpec) -> Iterator[Problem]:
    """Problems for folders that other readers take for the same value: 1 and 001, a and A, a%20b and a b.

    Args:
        values: all values of the partition column.
        value: the one to be read.
        spec: the partition column.
    """
    mine = _as_read(value)
    for other in sorted(values):
        if other != value and _as_read(other) == mine:
            text = (
                f"{spec.folder(other)} lies beside it, and other readers take both for one value; rename one"
            )
            yield Problem(spec.folder(value), text)


def _as_read(value: str) -> str:
    text = unquote(value).strip().lower()
    return str(int(text)) if text.isascii() and text.isdigit() else text


def table_format_problems(keys: Iterable[str]) -> Iterator[Problem]:
    """The problem of another table format, whose folder also holds files that the table does not use.

    Args:
        keys: of the files and folders directly below the data's path and below its ``metadata`` folder.
    """
    kinds = {}
    for key in keys:
        first, _, rest = key.partition("/")
        if first == "metadata" and rest.endswith(".metadata.json"):
            kinds[first] = "Iceberg"
        elif first in ("_delta_log", ".hoodie"):
            kinds[first] = "Delta" if first == "_delta_log" else "Hudi"
    for name, kind in kinds.items():
        text = f"this is a {kind} table; read as plain Parquet it shows rows that were deleted or replaced"
        yield Problem(name, f"{text}. Export the rows to plain Parquet")
