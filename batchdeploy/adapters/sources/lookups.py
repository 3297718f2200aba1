"""Pins the tables of feature lookups together with the rows that they are joined to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from batchdeploy.adapters.sources.local_files import LocalFiles, stray_problems
from batchdeploy.core.calendar import end_moment
from batchdeploy.core.deployment import DataRef, LookupSpec, PartitionSpec
from batchdeploy.core.hive_layout import is_marker, table_format_problems
from batchdeploy.core.lookups import pairs
from batchdeploy.core.partition_names import parse_folder
from batchdeploy.core.path_hints import describe_lookup
from batchdeploy.core.pins import DataPin, FilePin, LookupPin, digest_files, file_changes
from batchdeploy.core.system_errors import reason
from batchdeploy.errors import DataError, PartitionError, Problem
from batchdeploy.ports import Source

# Gives the command that brings a path which DVC records into the workspace, or None.
PullCommand = Callable[[str], str | None]


class LookupSource:
    """A source whose partitions are pinned with the tables that their rows are joined with.

    Args:
        source: reads the rows.
        root: the project's root.
        pull_command: as for `batchdeploy.adapters.sources.folder.FolderSource`.
    """

    def __init__(self, source: Source, root: Path, pull_command: PullCommand | None = None) -> None:
        self._source = source
        self._root = root
        self._pull_command = pull_command
        self._files = LocalFiles()

    def partitions(self, ref: DataRef) -> tuple[str, ...]:
        """All values of the partition column, sorted."""
        return self._source.partitions(ref)

    def partition_problems(self, ref: DataRef) -> tuple[Problem, ...]:
        """Problems of the data's partitions."""
        return self._source.partition_problems(ref)

    def pin(self, ref: DataRef, partition: str) -> DataPin:
        """Pins the partition's files, and those of each lookup.

        Raises:
            PartitionError: the partition is unknown, or names no time although a lookup has ``as_of``.
            DataError: a table is missing, or holds something that is not a plain Parquet file.
        """
        pin = self._source.pin(ref, partition)
        lookups = tuple(
            self._pin(number, lookup, ref, partition) for number, lookup in enumerate(ref.lookups)
        )
        contents = [(file.path, file.fingerprint) for lookup in lookups for file in lookup.files]
        return replace(pin, lookups=lookups, digest=digest_files([("", pin.digest), *contents]))

    def changes(self, ref: DataRef, partition: str, pin: DataPin) -> tuple[Problem, ...]:
        """What changed since the partition was pinned, by file, in the rows and in the tables."""
        problems = list(self._source.changes(ref, partition, pin))
        for lookup in pin.lookups:
            for file in lookup.files:
                self._files.remember(self._root / file.path, file)
            try:
                now: tuple[FilePin, ...] = tuple(self._table_files(lookup.path))
            except OSError:
                now = ()
            problems += file_changes(lookup.files, now)
        return tuple(problems)

    def _pin(self, number: int, lookup: LookupSpec, ref: DataRef, partition: str) -> LookupPin:
        key = f"data.lookups.{number}.path"
        try:
            files = tuple(self._table_files(lookup.path))
        except FileNotFoundError:
            raise self._missing(key, lookup.path) from None
        except OSError as error:
            raise DataError(lookup.path, (Problem(key, reason(error)),)) from None
        problems = list(_layout_problems(self._root / lookup.path, files))
        problems += (problem for file in files for problem in stray_problems(file, self._inside(lookup.path)))
        if not files:
            problems.append(Problem(key, "the folder holds no Parquet file"))
        if problems:
            raise DataError(lookup.path, tuple(problems))
        return LookupPin(
            path=lookup.path,
            keys=pairs(lookup.keys),
            columns=pairs(lookup.columns),
            as_of=lookup.as_of,
            until=None if lookup.as_of is None else _end(ref.partition, partition),
            files=files,
        )

    def _table_files(self, path: str) -> Iterator[FilePin]:
        """The pinned files of a table: one, or all in a folder, by their paths below the root."""
        place = self._root / path
        if not place.is_dir():
            yield self._files.pin(place, path)
            return
        for folder, folders, names in os.walk(place, onerror=_raise):
            folders[:] = sorted(name for name in folders if not is_marker(name))
            for name in sorted(name for name in names if not is_marker(name)):
                file = Path(folder, name)
                yield self._files.pin(file, f"{path.rstrip('/')}/{file.relative_to(place).as_posix()}")

    def _inside(self, path: str) -> Sequence[Path]:
        place = self._root / path
        return self._root.resolve(), (place if place.is_dir() else place.parent).resolve()

    def _missing(self, key: str, path: str) -> DataError:
        command = self._pull_command(path) if self._pull_command else None
        what = "is recorded by DVC, but not in the workspace" if command else "no such file or folder"
        problem = Problem(key, f"{what}: {describe_lookup(path, self._root)}")
        return DataError(path, (problem,), hint=command)


def _layout_problems(place: Path, files: Sequence[FilePin]) -> Iterator[Problem]:
    if place.is_dir():
        yield from table_format_problems(tuple(os.listdir(place)))
    for file in files:
        folders = [name for name in file.path.split("/")[:-1] if parse_folder(name) is not None]
        if place.is_dir() and folders:
            yield Problem(
                file.path, "a lookup's table has no partitions; write it as plain files", folders[0]
            )


def _end(spec: PartitionSpec, partition: str) -> str:
    """When a partition has ended, ISO 8601."""
    try:
        end = end_moment(partition, timezone=spec.timezone, key_format=spec.format)
    except ValueError:
        what = f"is no time written as {spec.format!r}, so that data.lookups cannot tell what as_of was known"
        raise PartitionError(spec.column, (Problem(spec.column, what, partition),)) from None
    return end.isoformat()


def _raise(error: OSError) -> None:
    raise error
