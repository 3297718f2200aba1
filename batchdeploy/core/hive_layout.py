"""The rules of hive-partitioned Parquet over relative keys: what is data, what is skipped, what is wrong.

Sources list folders, objects or recorded files and ask here, so that all of them read the same files. The
partition column may be any level of the path; the other levels are path columns (``country=US``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import NamedTuple

from batchdeploy.core.deployment import PartitionSpec
from batchdeploy.core.partition_names import NULL, parse_folder
from batchdeploy.core.pins import PathColumn
from batchdeploy.errors import Problem

# Marker files that writers leave beside their data and that readers skip.
MARKERS = {"_SUCCESS", "_metadata", "_common_metadata", ".gitignore", ".DS_Store"}
MARKER_PREFIXES = ("_committed_", "_started_", "_SUCCESS")
SUFFIX = ".parquet"
# Extensions of other formats; a file with none of them is Parquet if its first bytes say so.
OTHER_FORMATS = (".csv", ".tsv", ".json", ".txt", ".orc", ".avro", ".gz", ".zip", ".xml", ".html", ".tmp")


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


# The entries directly in a folder, by its key; "" is the data's path itself.
ListFolder = Callable[[str], Iterable[Entry]]
# Whether a file is Parquet by its first and last bytes; called only if the name does not show it.
IsParquet = Callable[[Entry], bool]


class PartitionFolders(NamedTuple):
    """The folders of all partitions.

    Attributes:
        by_value: the folders of each value of the partition column, in the order of their keys; several where
            the path has other columns above it.
        strays: ``column=value`` folders with another column than their siblings.
        seen: the names of all listed folders.
    """

    by_value: dict[str, tuple[Entry, ...]]
    strays: tuple[tuple[Entry, str], ...]
    seen: tuple[str, ...]

    @property
    def values(self) -> tuple[str, ...]:
        """The values with a readable folder, sorted."""
        return tuple(
            sorted(v for v, folders in self.by_value.items() if any(f.failure is None for f in folders))
        )


def is_marker(name: str) -> bool:
    """Whether a name is one that writers leave beside their data and that readers skip."""
    return name in MARKERS or name.startswith(MARKER_PREFIXES) or name.endswith(".crc")


def partition_folders(list_folder: ListFolder, spec: PartitionSpec) -> PartitionFolders:
    """Finds the partition column in the path: descends ``column=value`` folders until it is reached.

    Args:
        list_folder: lists one folder.
        spec: the partition column.
    """
    found: dict[str, list[Entry]] = defaultdict(list)
    above: set[str] = set()
    strays: list[tuple[Entry, str]] = []
    seen: list[str] = []
    level = [""]
    while level and not found:
        folders = sorted((e for key in level for e in list_folder(key) if not e.is_file), key=_key)
        seen += [entry.name for entry in folders]
        # NOTE: a column comes once in a path, so that a link to a folder above itself ends here.
        named = [
            (e, parsed) for e in folders if (parsed := parse_folder(e.name)) and parsed.column not in above
        ]
        columns = [parsed.column for _, parsed in named]
        column = spec.column if spec.column in columns else next(iter(columns), "")
        strays += [(entry, column) for entry, parsed in named if parsed.column != column]
        chosen = [(entry, parsed) for entry, parsed in named if parsed.column == column]
        for entry, parsed in chosen:
            if column == spec.column:
                found[parsed.value].append(entry)
        above.add(column)
        level = [entry.key for entry, _ in chosen if entry.failure is None]
    return PartitionFolders({v: tuple(entries) for v, entries in found.items()}, tuple(strays), tuple(seen))


def folder_problems(found: PartitionFolders, value: str) -> Iterator[Problem]:
    """The problems of the folders that lead to a partition.

    Two folders of one value, or of values that other readers treat as one, are a problem; so are folders of
    another column beside the partition column's, because no run would read their rows.

    Args:
        found: all folders.
        value: the partition.
    """
    mine = {entry.name for entry in found.by_value[value]}
    similar = {
        entry.name
        for other, entries in found.by_value.items()
        for entry in entries
        if other != value and _as_read(other) == _as_read(value)
    }
    first = min(mine)
    for name in sorted((mine | similar) - {first}):
        text = f"{name} also exists, and other readers treat both as one value; rename one"
        yield Problem(first, text)
    for entry, column in found.strays:
        what = f"is not a {column}=VALUE folder, as those beside it are; its rows would be missing"
        yield Problem(entry.key, what)


def _as_read(value: str) -> str:
    text = value.strip().lower()
    return str(int(text)) if text.isascii() and text.isdigit() else text


def partition_files(
    list_folder: ListFolder, folders: Sequence[Entry], is_parquet: IsParquet
) -> tuple[list[Entry], list[Problem]]:
    """The Parquet files in a partition's folders by key, and problems of the other entries.

    Args:
        list_folder: lists one folder.
        folders: the partition's folders.
        is_parquet: checks a file if the name does not show its format.
    """
    files: list[Entry] = []
    problems = [Problem(e.key, "cannot be read", e.failure) for e in folders if e.failure is not None]
    pending = [entry.key for entry in folders if entry.failure is None]
    while pending:
        entries = [*list_folder(pending.pop())]
        below = [e for e in entries if not e.is_file and not e.failure and _is_new_column(e.key)]
        pending += [entry.key for entry in below]
        found, wrong = data_files((e for e in entries if e not in below), is_parquet)
        files += found
        problems += wrong
    files.sort(key=_key)
    problems += _uneven(files)
    return files, problems


def _is_new_column(key: str) -> bool:
    *above, last = (parse_folder(name) for name in key.split("/"))
    return last is not None and last.column not in {parsed.column for parsed in above if parsed is not None}


def _uneven(files: Sequence[Entry]) -> Iterator[Problem]:
    """Files in folders of other columns than those of the first file."""
    for file in files[1:]:
        if (mine := _columns(file.key)) != (expected := _columns(files[0].key)):
            text = f"does not lie in folders of the same columns as {files[0].key}: {'/'.join(expected)}"
            yield Problem(file.key, text, "/".join(mine))


def _columns(key: str) -> tuple[str, ...]:
    return tuple(parsed.column for name in key.split("/")[:-1] if (parsed := parse_folder(name)))


def data_files(entries: Iterable[Entry], is_parquet: IsParquet) -> tuple[list[Entry], list[Problem]]:
    """The Parquet files among a folder's entries by key, and problems of the other entries.

    Args:
        entries: the folder's entries.
        is_parquet: checks a file if the name does not show its format.
    """
    files, problems = [], []
    for entry in sorted(entries, key=_key):
        if is_marker(entry.name):
            continue
        if (problem := _entry_problem(entry, is_parquet)) is None:
            files.append(entry)
        else:
            problems.append(problem)
    return files, problems


def _entry_problem(entry: Entry, is_parquet: IsParquet) -> Problem | None:
    if entry.failure is not None:
        return Problem(entry.key, "cannot be read", entry.failure)
    if not is_text(entry.name):
        return Problem(entry.key, "has a name that is not UTF-8; rename it")
    if not entry.is_file or entry.name.lower().endswith(OTHER_FORMATS):
        return Problem(entry.key, "not a Parquet file")
    if not entry.name.endswith(SUFFIX) and not is_parquet(entry):
        return Problem(entry.key, "not a Parquet file")
    if entry.name.startswith(("_", ".")):
        text = "has a name that Spark and others skip: its rows would be missing; rename or remove it"
        return Problem(entry.key, text)
    return None


def is_text(name: str) -> bool:
    """Whether a name is valid Unicode; others can be opened, but not recorded or shown."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def path_columns(key: str, spec: PartitionSpec) -> tuple[PathColumn, ...]:
    """The columns in the folders of a file's key, except the partition column."""
    named = [parsed for name in key.split("/")[:-1] if (parsed := parse_folder(name)) is not None]
    return tuple(
        PathColumn(name=parsed.column, value=None if parsed.value == NULL else parsed.value)
        for parsed in named
        if parsed.column != spec.column
    )


def lister(files: Iterable[Entry]) -> ListFolder:
    """Lists folders from a complete list of files, such as a listing of a store."""
    below: dict[str, dict[str, Entry]] = defaultdict(dict)
    for file in files:
        key, child = file.key, file
        while True:
            folder = key.rpartition("/")[0]
            known = below[folder].setdefault(key, child)
            if not folder or known is not child:
                break
            key, child = folder, Entry(folder, is_file=False)
    return lambda key: [*below[key].values()] if key in below else []


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
        remedy = f"set format: {kind.lower()}" if kind != "Hudi" else "export the rows to plain Parquet"
        yield Problem(name, f"{text}; {remedy}")


_key = attrgetter("key")
