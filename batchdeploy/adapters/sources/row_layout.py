"""Partitions that no folder names: an ordinary column of the files tells which rows are whose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol

from batchdeploy.core.deployment import PartitionSpec
from batchdeploy.core.pins import FilePin
from batchdeploy.core.storage_spec import StorageSpec

# How many footers are read at a time.
REQUESTS = 16


class RowIndex(Protocol):
    """What reads which partitions the rows of a file belong to."""

    def values(self, file: FilePin, spec: PartitionSpec, storage: StorageSpec) -> set[str]:
        """The values that rows of a file have."""
        ...

    def select(
        self, file: FilePin, spec: PartitionSpec, value: str, storage: StorageSpec
    ) -> tuple[tuple[int, ...], int]:
        """The row groups of a file that hold rows of a partition, and how many rows they hold of it."""
        ...


OpenIndex = Callable[[], RowIndex]


def row_values(
    files: Sequence[FilePin], rows: RowIndex, spec: PartitionSpec, storage: StorageSpec = StorageSpec()
) -> tuple[str, ...]:
    """All values of the partition column, sorted.

    Args:
        files: all files of the data; none of them need to be hashed.
        rows: reads them.
        spec: the partition column.
        storage: how to reach their store.

    Raises:
        DataError: a file cannot be read, or has no such column.
    """
    # The first tells alone whether there is such a column.
    found = set(rows.values(files[0], spec, storage))
    with ThreadPoolExecutor(REQUESTS) as pool:
        found = found.union(*pool.map(lambda file: rows.values(file, spec, storage), files[1:]))
    return tuple(sorted(found))


def row_files(
    files: Sequence[FilePin],
    rows: RowIndex,
    spec: PartitionSpec,
    value: str,
    storage: StorageSpec = StorageSpec(),
) -> tuple[FilePin, ...]:
    """The files that hold rows of a partition, with their row groups that do.

    Args:
        files: all files of the data; none of them need to be hashed.
        rows: reads them.
        spec: the partition column.
        value: the partition.
        storage: how to reach their store.

    Raises:
        DataError: a file cannot be read, or has no such column.
    """
    with ThreadPoolExecutor(REQUESTS) as pool:
        chosen = list(pool.map(lambda file: rows.select(file, spec, value, storage), files))
    return tuple(
        replace(file, row_groups=groups, rows=count)
        for file, (groups, count) in zip(files, chosen, strict=True)
        if groups
    )
