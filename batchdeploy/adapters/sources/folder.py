"""Partitions in a plain local folder: `column=value` folders that hold Parquet files."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from batchdeploy.adapters.sources.local_files import LocalFiles, stray_problems
from batchdeploy.adapters.sources.row_layout import OpenIndex, RowIndex, row_files, row_values
from batchdeploy.core.deployment import DataRef
from batchdeploy.core.hive_layout import (
    Entry,
    folder_problems,
    is_marker,
    partition_files,
    partition_folders,
    path_columns,
    table_format_problems,
)
from batchdeploy.core.partitions import known_hint, value_problems
from batchdeploy.core.path_hints import describe_lookup, local_path
from batchdeploy.core.pins import digest_files, identity_of, pin_changes
from batchdeploy.core.records import DataPin, FilePin
from batchdeploy.core.system_errors import reason
from batchdeploy.errors import DataError, PartitionError, Problem

MAGIC = b"PAR1"
Recorded = Callable[[Path], dict[str, str] | None]
PullCommand = Callable[[str], str | None]
Tracked = Literal["dvc", "modified", "plain"]


class FolderSource:
    """Reads the workspace.

    Args:
        root: the project's root, which relative paths start from.
        recorded: returns the MD5 of each file that DVC recorded for a data folder, or None if it is not
            tracked; omitted if there is no DVC.
        pull_command: returns the command that brings a path which DVC records into the workspace, or None if
            it is not tracked; omitted if there is no DVC.
        rows: opens what reads partitions from a column of the files; without it, only folders name them.
    """

    def __init__(
        self,
        root: Path,
        *,
        recorded: Recorded | None = None,
        pull_command: PullCommand | None = None,
        rows: OpenIndex | None = None,
    ) -> None:
        self._root = root
        self._recorded = recorded
        self._pull_command = pull_command
        self._files = LocalFiles()
        self._rows = rows

    def partitions(self, ref: DataRef) -> tuple[str, ...]:
        """All values of the partition column, sorted.

        Raises:
            DataError: the folder is missing, or holds no folder named for the column.
        """
        folder = self._folder(ref)
        found = partition_folders(_lister(folder), ref.partition)
        if found.values:
            return found.values
        files, _ = self._unfolded(folder)
        if self._rows is None or not files:
            names = ", ".join(sorted(found.seen)[:5]) or "no folder at all"
            what = f"no folder named {ref.partition.column}=VALUE in {folder}"
            raise DataError(ref.path, (Problem("data.partition.column", what, names),))
        return row_values([_unhashed(folder, file) for file in files], self._index, ref.partition)

    def partition_problems(self, ref: DataRef) -> tuple[Problem, ...]:
        """Problems of partition folders: invalid values, and folders without a Parquet file."""
        data = self._folder(ref)
        found = partition_folders(_lister(data), ref.partition)
        values = sorted(found.by_value) or self.partitions(ref)
        folders = (folder for value in sorted(found.by_value) for folder in found.by_value[value])
        empty = (problem for folder in folders for problem in _empty(data, folder))
        return (*value_problems(values, ref.partition), *empty)

    def pin(self, ref: DataRef, partition: str) -> DataPin:
        """Pins the partition's files in the workspace by their MD5.

        Does not read a file again that it has hashed before and that has the same inode, size and times.

        Raises:
            PartitionError: the partition does not exist, or is empty.
            DataError: the partition holds something that is not a Parquet file.
        """
        data = self._folder(ref, ref.partition.folder(partition))
        found = partition_folders(_lister(data), ref.partition)
        problems = [*table_format_problems((*os.listdir(data), *_metadata_keys(data)))]
        if folders := found.by_value.get(partition, ()):
            problems += folder_problems(found, partition)
            entries, wrong = partition_files(_lister(data), folders, _looks_like_parquet(data))
            selected: dict[str, FilePin] = {}
        else:
            if found.by_value:
                raise self._unknown(ref, partition, data)
            entries, wrong = self._unfolded(data)
            selected = self._select(ref, partition, data, entries)
            entries = [entry for entry in entries if entry.key in selected]
        problems += wrong
        files = []
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            # Hashing takes most of the time, and releases the interpreter lock.
            pins = list(pool.map(lambda entry: self._files.pin(data / entry.key, entry.key), entries))
        for pinned in pins:
            problems += stray_problems(pinned, (self._root.resolve(), data.resolve()))
            chosen = selected.get(pinned.path, pinned)
            given = path_columns(pinned.path, ref.partition)
            files.append(replace(pinned, path_columns=given, row_groups=chosen.row_groups, rows=chosen.rows))
        if problems:
            raise DataError(ref.path, tuple(problems))
        if not files:
            raise PartitionError(f"{ref.path}/{folders[0].key}", "the partition holds no Parquet file")
        return DataPin(
            path=ref.path,
            rev=None,
            tracked=self._tracked(data, folders, tuple(files)),
            digest=digest_files((file.path, file.md5) for file in files),
            files=tuple(files),
        )

    def changes(self, ref: DataRef, partition: str, pin: DataPin) -> tuple[Problem, ...]:
        """What changed since the partition was pinned, by file.

        Reads only files whose inode, size or times are no longer the pinned ones.
        """
        for file in pin.files:
            self._files.remember(self._root / local_path(ref.path) / file.path, file)
        return pin_changes(pin, lambda: self.pin(ref, partition))

    def _select(
        self, ref: DataRef, partition: str, data: Path, entries: Sequence[Entry]
    ) -> dict[str, FilePin]:
        """The files with rows of a partition that no folder names, by their keys."""
        if self._rows is None or not entries:
            # There is no such column, neither in the path nor in files.
            self.partitions(ref)
        unhashed = [_unhashed(data, entry) for entry in entries]
        selected = row_files(unhashed, self._index, ref.partition, partition)
        if not selected:
            raise self._unknown(ref, partition, data)
        return {file.path: file for file in selected}

    def _unfolded(self, data: Path) -> tuple[list[Entry], list[Problem]]:
        """All Parquet files of the data, where no folder names a partition."""
        return partition_files(_lister(data), [Entry("", is_file=False)], _looks_like_parquet(data))

    @cached_property
    def _index(self) -> RowIndex:
        if self._rows is None:
            raise TypeError("this source reads no rows")
        return self._rows()

    def _folder(self, ref: DataRef, wanted: str = "") -> Path:
        """The data folder; ``wanted`` is the folder in it that is looked for."""
        folder = self._root / local_path(ref.path)
        try:
            is_folder = stat.S_ISDIR(folder.stat().st_mode)
        except FileNotFoundError:
            is_folder = None
        except OSError as error:
            raise DataError(ref.path, (Problem("data.path", reason(error)),)) from None
        if is_folder is False:
            raise DataError(ref.path, (Problem("data.path", "is not a folder", str(folder)),))
        if is_folder is None:
            what = f"no such folder: {describe_lookup(ref.path, self._root)}"
            if hint := self._pull_hint(f"{ref.path}/{wanted}".rstrip("/")):
                what = (
                    f"is recorded by DVC, but not in the workspace: {describe_lookup(ref.path, self._root)}"
                )
            raise DataError(ref.path, (Problem("data.path", what),), hint=hint)
        return folder

    def _unknown(self, ref: DataRef, partition: str, data: Path) -> PartitionError:
        if hint := self._pull_hint(f"{ref.path}/{ref.partition.folder(partition)}"):
            problem = Problem(ref.partition.column, "is recorded by DVC, but not in the workspace", partition)
            return PartitionError(ref.path, (problem,), hint=hint)
        known = self.partitions(ref)
        return PartitionError(
            ref.path,
            (Problem(ref.partition.column, f"no such partition in {data}", partition),),
            hint=known_hint(known),
        )

    def _pull_hint(self, path: str) -> str | None:
        command = self._pull_command(path) if self._pull_command else None
        return f"{command}, or data.fetch: true in the deployment" if command else None

    def _tracked(self, data: Path, folders: tuple[Entry, ...], files: tuple[FilePin, ...]) -> Tracked:
        recorded = self._recorded(data) if self._recorded else None
        if recorded is None:
            return "plain"
        # Without folders, only those files are the partition's that hold rows of it.
        prefixes = tuple(f"{folder.key}/" for folder in folders) or tuple(file.path for file in files)
        expected = {path: md5 for path, md5 in recorded.items() if path.startswith(prefixes)}
        return "dvc" if expected == {file.path: file.md5 for file in files} else "modified"


def _empty(data: Path, folder: Entry) -> Iterator[Problem]:
    try:
        for _, _, names in os.walk(data / folder.key, onerror=_raise):
            if not all(is_marker(name) for name in names):
                return
        yield Problem(folder.key, "holds no Parquet file")
    except OSError as error:
        yield Problem(folder.key, reason(error))


def _raise(error: OSError) -> None:
    raise error


def _looks_like_parquet(data: Path) -> Callable[[Entry], bool]:
    """Tells whether a file begins and ends as Parquet does."""

    def look(entry: Entry) -> bool:
        try:
            with (data / entry.key).open("rb") as stream:
                return stream.read(4) == MAGIC and stream.seek(-4, os.SEEK_END) > 0 and stream.read() == MAGIC
        except OSError:
            return False

    return look


def _unhashed(data: Path, entry: Entry) -> FilePin:
    """A file to look into, pinned by its identity alone."""
    location = data / entry.key
    found = identity_of(location.stat())
    return FilePin(path=entry.key, md5="", size=entry.size, location=str(location), identity=found)


def _metadata_keys(data: Path) -> Iterator[str]:
    """Keys of the files in which Iceberg describes a table."""
    return (f"metadata/{file.name}" for file in (data / "metadata").glob("*.metadata.json"))


def _lister(data: Path) -> Callable[[str], Iterator[Entry]]:
    """Lists folders of the data; markers without a look at them."""

    def list_folder(key: str) -> Iterator[Entry]:
        with os.scandir(data / key) as entries:
            for file in entries:
                path = f"{key}/{file.name}" if key else file.name
                if is_marker(file.name):
                    yield Entry(path)
                    continue
                try:
                    found = file.stat()
                except OSError as error:
                    yield Entry(path, is_file=False, failure=reason(error))
                else:
                    yield Entry(path, found.st_size, stat.S_ISREG(found.st_mode))

    return list_folder
