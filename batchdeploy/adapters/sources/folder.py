"""Partitions in a plain local folder: `column=value` folders that hold Parquet files."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

from batchdeploy.adapters.sources.local_files import LocalFiles
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
from batchdeploy.core.partitions import value_problems
from batchdeploy.core.path_hints import describe_lookup
from batchdeploy.core.pins import digest_files, pin_changes
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
    """

    def __init__(
        self, root: Path, *, recorded: Recorded | None = None, pull_command: PullCommand | None = None
    ) -> None:
        self._root = root
        self._recorded = recorded
        self._pull_command = pull_command
        self._files = LocalFiles()

    def partitions(self, ref: DataRef) -> tuple[str, ...]:
        """All values of the partition column, sorted.

        Raises:
            DataError: the folder is missing, or holds no folder named for the column.
        """
        folder = self._folder(ref)
        found = partition_folders(_lister(folder), ref.partition)
        if not found.values:
            names = ", ".join(sorted(found.seen)[:5]) or "no folder at all"
            what = f"no folder named {ref.partition.column}=VALUE in {folder}"
            raise DataError(ref.path, (Problem("data.partition.column", what, names),))
        return found.values

    def partition_problems(self, ref: DataRef) -> tuple[Problem, ...]:
        """Problems of partition folders: invalid values, and folders without a Parquet file."""
        data = self._folder(ref)
        found = partition_folders(_lister(data), ref.partition)
        values = sorted(found.by_value)
        empty = (problem for value in values for e in found.by_value[value] for problem in _empty(data, e))
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
        if not (folders := found.by_value.get(partition, ())):
            raise self._unknown(ref, partition, data)
        problems = [
            *table_format_problems((*os.listdir(data), *_metadata_keys(data))),
            *folder_problems(found, partition),
        ]
        entries, wrong = partition_files(_lister(data), folders, lambda entry: _is_parquet(data / entry.key))
        problems += wrong
        files = []
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            # Hashing takes most of the time, and releases the interpreter lock.
            pins = list(pool.map(lambda entry: self._files.pin(data / entry.key, entry.key), entries))
        for pinned in pins:
            problems += self._strays(pinned, data)
            files.append(replace(pinned, path_columns=path_columns(pinned.path, ref.partition)))
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
            self._files.remember(self._root / ref.path / file.path, file)
        return pin_changes(pin, lambda: self.pin(ref, partition))

    def _folder(self, ref: DataRef, wanted: str = "") -> Path:
        """The data folder; ``wanted`` is the folder in it that is looked for."""
        if "://" in ref.path:
            raise DataError(ref.path, (Problem("data.path", "only local folders are read so far, not URIs"),))
        folder = self._root / ref.path
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
            hint=f"there are {len(known)} from {known[0]} to {known[-1]}",
        )

    def _pull_hint(self, path: str) -> str | None:
        command = self._pull_command(path) if self._pull_command else None
        return f"{command}, or data.fetch: true in the deployment" if command else None

    def _strays(self, pinned: FilePin, data: Path) -> Iterator[Problem]:
        """The problem of a link that leads neither into the project nor to content named by its hash."""
        target = Path(pinned.location)
        inside = target.is_relative_to(self._root.resolve()) or target.is_relative_to(data.resolve())
        by_content = (target.parent.name + target.name) == pinned.md5
        if not inside and not by_content:
            yield Problem(pinned.path, "is a link that leads out of the project", str(target))

    def _tracked(self, data: Path, folders: tuple[Entry, ...], files: tuple[FilePin, ...]) -> Tracked:
        recorded = self._recorded(data) if self._recorded else None
        if recorded is None:
            return "plain"
        prefixes = tuple(f"{folder.key}/" for folder in folders)
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


def _is_parquet(file: Path) -> bool:
    """Whether a file begins and ends as Parquet does."""
    try:
        with file.open("rb") as stream:
            return stream.read(4) == MAGIC and stream.seek(-4, os.SEEK_END) > 0 and stream.read() == MAGIC
    except OSError:
        return False


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
