"""Partitions in an object store: objects below `column=value` prefixes, pinned by version or by ETag."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

from batchdeploy.adapters.sources.row_layout import OpenIndex, RowIndex, row_files, row_values
from batchdeploy.core.deployment import DataRef
from batchdeploy.core.hive_layout import (
    Entry,
    PartitionFolders,
    folder_problems,
    is_marker,
    lister,
    partition_files,
    partition_folders,
    path_columns,
    table_format_problems,
)
from batchdeploy.core.partitions import known_hint, value_problems
from batchdeploy.core.pins import digest_files, pin_changes
from batchdeploy.core.records import DataPin, FilePin
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.errors import DataError, PartitionError, Problem
from batchdeploy.storage.object_inputs import PinnedObject
from batchdeploy.storage.object_listing import Found, ObjectFolder

MAGIC = b"PAR1"


class ObjectFolderSource:
    """Reads objects of S3, GCS or Azure below a URI, by the same rules as a local folder.

    No object is read to pin it, except for the ends of those whose names do not tell what they are.

    Args:
        storage: how to reach the store; credentials come from the environment.
        rows: opens what reads partitions from a column of the objects; without it, only folders name them.
    """

    def __init__(self, storage: StorageSpec, *, rows: OpenIndex | None = None) -> None:
        self._storage = storage
        self._rows = rows

    def partitions(self, ref: DataRef) -> tuple[str, ...]:
        """All values of the partition column, sorted.

        Raises:
            DataError: there is nothing below the URI, or no folder named for the column.
            SourceError: the store failed.
        """
        listing = self._listing(ref)
        return self._values(ref, listing, partition_folders(listing.entries, ref.partition))

    def partition_problems(self, ref: DataRef) -> tuple[Problem, ...]:
        """Problems of partition folders: invalid values, and folders without a Parquet file."""
        entries = [Entry(found.key, found.size) for found in self._folder(ref).descend()]
        found = partition_folders(lister(entries), ref.partition)
        data = {folder for e in entries if not is_marker(e.name) for folder in _folders_above(e.key)}
        values = sorted(found.by_value) or self.partitions(ref)
        folders = (entry for value in sorted(found.by_value) for entry in found.by_value[value])
        empty = (Problem(e.key, "holds no Parquet file") for e in folders if e.key not in data)
        return (*value_problems(values, ref.partition), *empty)

    def pin(self, ref: DataRef, partition: str) -> DataPin:
        """Pins the partition's objects by version, where the bucket keeps versions, or else by ETag.

        Raises:
            PartitionError: the partition does not exist, or is empty.
            DataError: the partition holds something that is not a Parquet file.
            SourceError: the store failed.
        """
        listing = self._listing(ref)
        found = partition_folders(listing.entries, ref.partition)
        problems = [*table_format_problems(listing.table_keys())]
        if folders := found.by_value.get(partition, ()):
            problems += folder_problems(found, partition)
            entries, wrong = partition_files(listing.entries, folders, listing.is_parquet)
        else:
            if found.by_value:
                raise _unknown(ref, partition, found.values)
            entries, wrong = listing.unfolded()
            if self._rows is None or not entries:
                # There is no such column, neither in the path nor in files.
                self._values(ref, listing, found)
        if problems := [*problems, *wrong]:
            raise DataError(ref.path, tuple(problems))
        if not entries:
            raise PartitionError(f"{ref.path}/{folders[0].key}", "the partition holds no Parquet file")
        pins: Sequence[FilePin] = listing.folder.pins([listing.found[entry.key] for entry in entries])
        if not folders and self._rows is not None:
            pins = row_files(pins, self._index, ref.partition, partition, self._storage)
            if not pins:
                raise _unknown(ref, partition, self._values(ref, listing, found))
        files = tuple(replace(pin, path_columns=path_columns(pin.path, ref.partition)) for pin in pins)
        return DataPin(
            path=ref.path,
            rev=None,
            tracked="plain",
            digest=digest_files((file.path, file.fingerprint) for file in files),
            files=files,
            storage=self._storage,
        )

    def changes(self, ref: DataRef, partition: str, pin: DataPin) -> tuple[Problem, ...]:
        """What was replaced, deleted or added since the partition was pinned, by object.

        An object of which the pinned version is still readable counts as replaced, too.
        """
        return pin_changes(pin, lambda: self.pin(ref, partition))

    @cached_property
    def _index(self) -> RowIndex:
        if self._rows is None:
            raise TypeError("this source reads no rows")
        return self._rows()

    def _values(self, ref: DataRef, listing: _Listing, found: PartitionFolders) -> tuple[str, ...]:
        if not found.values:
            files, _ = listing.unfolded() if self._rows is not None else ([], [])
            if files:
                pins = listing.folder.pins([listing.found[file.key] for file in files])
                return row_values(pins, self._index, ref.partition, self._storage)
            names = ", ".join(sorted(found.seen)[:5])
            if not found.seen:
                raise DataError(ref.path, (Problem("data.path", "there is no folder below this URI"),))
            what = f"no folder named {ref.partition.column}=VALUE"
            raise DataError(ref.path, (Problem("data.partition.column", what, names),))
        return found.values

    def _listing(self, ref: DataRef) -> _Listing:
        return _Listing(self._folder(ref), self._storage)

    def _folder(self, ref: DataRef) -> ObjectFolder:
        if ref.rev is not None:
            raise DataError(
                ref.path, (Problem("data.rev", "objects have no revisions; remove it", str(ref.rev)),)
            )
        return ObjectFolder(ref.path, self._storage)


def _unknown(ref: DataRef, partition: str, known: Sequence[str]) -> PartitionError:
    problem = Problem(ref.partition.column, f"no such partition in {ref.path}", partition)
    return PartitionError(ref.path, (problem,), hint=known_hint(known))


class _Listing:
    """The listings of one question; each folder is listed once.

    Attributes:
        folder: the objects below the data's URI.
        found: what was listed, by key.
    """

    def __init__(self, folder: ObjectFolder, storage: StorageSpec) -> None:
        self.folder = folder
        self.found: dict[str, Found] = {}
        self._storage = storage
        self._listed: dict[str, list[Entry]] = {}

    def entries(self, key: str) -> list[Entry]:
        """What lies directly in a folder."""
        if key not in self._listed:
            folders, objects = self.folder.children(key)
            self.found |= {found.key: found for found in objects}
            files = [Entry(found.key, found.size) for found in objects]
            self._listed[key] = [*(Entry(name, is_file=False) for name in folders), *files]
        return self._listed[key]

    def table_keys(self) -> Iterator[str]:
        """The keys by which other table formats are told."""
        for entry in self.entries(""):
            yield entry.key
            if entry.key == "metadata" and not entry.is_file:
                yield from (below.key for below in self.entries(entry.key))

    def unfolded(self) -> tuple[list[Entry], list[Problem]]:
        """All Parquet files of the data, where no folder names a partition."""
        return partition_files(self.entries, [Entry("", is_file=False)], self.is_parquet)

    def is_parquet(self, entry: Entry) -> bool:
        """Whether an object begins and ends as Parquet does."""
        if entry.size < 2 * len(MAGIC):
            return False
        (pin,) = self.folder.pins([self.found[entry.key]])
        stored = PinnedObject(pin, self._storage)
        return stored.read(pin.size - 4, pin.size) == MAGIC == stored.read(0, 4)


def _folders_above(key: str) -> Iterator[str]:
    while "/" in key:
        key = key.rpartition("/")[0]
        yield key
