"""Partitions in memory: Arrow tables under the names of the files that would hold them."""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa

from batchdeploy.core.deployment import DataRef
from batchdeploy.core.partitions import value_problems
from batchdeploy.core.pins import DataPin, FilePin, digest_files, pin_changes
from batchdeploy.errors import BatchdeployError, DataError, PartitionError, Problem

SCHEME = "memory:"


class FakeSource:
    """Rows by data path and partition.

    Attributes:
        failure: raised by every method while it is set, like by a store that does not answer.
    """

    def __init__(self) -> None:
        self.failure: BatchdeployError | None = None
        self._tables: dict[str, dict[str, tuple[Any, ...]]] = {}

    def put(self, path: str, partition: str, *tables: Any) -> None:
        """Sets a partition's rows, one Arrow table per file; without tables it is an empty folder."""
        self._tables.setdefault(path, {})[partition] = tables

    def remove(self, path: str, partition: str) -> None:
        """Removes a partition."""
        del self._tables[path][partition]

    def partitions(self, ref: DataRef) -> tuple[str, ...]:
        """All values of the partition column, sorted."""
        return tuple(sorted(self._at(ref)))

    def partition_problems(self, ref: DataRef) -> tuple[Problem, ...]:
        """The problems of partitions with invalid values or without files."""
        found = self._at(ref)
        column = ref.partition.column
        empty = (Problem(f"{column}={value}", "holds no file") for value in sorted(found) if not found[value])
        return (*value_problems(sorted(found), ref.partition), *empty)

    def pin(self, ref: DataRef, partition: str) -> DataPin:
        """Pins the partition's tables by content; PartitionError if there are none."""
        found = self._at(ref)
        name = f"{ref.partition.column}={partition}"
        if not found.get(partition):
            what = "holds no file" if partition in found else "no such partition"
            raise PartitionError(ref.path, (Problem(ref.partition.column, what, partition),))
        files = tuple(
            FilePin(
                path=f"{name}/part-{number}.parquet",
                md5=md5_of(table),
                size=table.nbytes,
                location=f"{SCHEME}{ref.path}/{partition}/{number}",
            )
            for number, table in enumerate(found[partition])
        )
        return DataPin(
            path=ref.path,
            rev=None,
            tracked="plain",
            digest=digest_files((file.path, file.md5) for file in files),
            files=files,
        )

    def changes(self, ref: DataRef, partition: str, pin: DataPin) -> tuple[Problem, ...]:
        """What changed since the partition was pinned, by file."""
        return pin_changes(pin, lambda: self.pin(ref, partition))

    def read(self, location: str, md5: str) -> Any:
        """A pinned file's table; DataError if its rows changed since.

        Args:
            location: the location in the file's pin.
            md5: the MD5 in the same pin.
        """
        path, partition, number = location.removeprefix(SCHEME).rsplit("/", 2)
        tables = self._tables.get(path, {}).get(partition, ())
        if int(number) >= len(tables) or md5_of(tables[int(number)]) != md5:
            raise DataError(path, (Problem(location, "changed since it was planned"),))
        return tables[int(number)]

    def _at(self, ref: DataRef) -> dict[str, tuple[Any, ...]]:
        if self.failure is not None:
            raise self.failure
        if ref.rev is not None:
            raise DataError(ref.path, (Problem("data.rev", "this source has no revisions", str(ref.rev)),))
        if not self._tables.get(ref.path):
            raise DataError(ref.path, (Problem("data.path", "no such folder"),))
        return self._tables[ref.path]


def md5_of(table: Any) -> str:
    """MD5 (hex) of a table's rows as an Arrow stream."""
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return hashlib.md5(stream.getvalue(), usedforsecurity=False).hexdigest()
