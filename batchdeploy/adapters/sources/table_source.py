"""Partitions of a lakehouse table: the files that one version of it names, pinned like any others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from batchdeploy.adapters.sources.row_layout import OpenIndex, RowIndex, row_files, row_values
from batchdeploy.adapters.sources.table_files import TableFiles
from batchdeploy.adapters.sources.table_snapshot import OpenTable, Snapshot, TableFile, path_column
from batchdeploy.core.calendar import first_moment, last_moment
from batchdeploy.core.deployment import DataRef, PartitionSpec
from batchdeploy.core.lookups import TableFormat
from batchdeploy.core.partition_names import NULL
from batchdeploy.core.partitions import known_hint, value_problems
from batchdeploy.core.pins import DataPin, FilePin, digest_files, pin_changes
from batchdeploy.core.predicates import Predicate
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.errors import DataError, PartitionError, Problem


class TableSource:
    """Reads a table; each question opens it at the version that the deployment names, else at the newest.

    Args:
        kind: of the table.
        open_table: opens it at the version that a deployment names.
        storage: how to reach an object store.
        rows: opens what reads partitions from a column of the files, where the table is not partitioned so.
    """

    def __init__(
        self, kind: TableFormat, open_table: OpenTable, storage: StorageSpec, rows: OpenIndex
    ) -> None:
        self._kind = kind
        self._open_table = open_table
        self._storage = storage
        self._rows = rows
        self._files = TableFiles(storage)

    def partitions(self, ref: DataRef) -> tuple[str, ...]:
        """All values of the partition column, as its key format writes them, sorted.

        Raises:
            DataError: the table cannot be opened, or has no such column.
        """
        snapshot = self._open_table(ref.path, ref.rev)
        if (values := self._values(ref, snapshot)) is not None:
            return tuple(sorted({key_of(value, ref.partition) for value in values}))
        files = self._files.unhashed(ref.path, snapshot.files(()))
        return row_values(files, self._index, ref.partition, self._storage) if files else ()

    def partition_problems(self, ref: DataRef) -> tuple[Problem, ...]:
        """Problems of partitions by their values."""
        return tuple(value_problems(self.partitions(ref), ref.partition))

    def pin(self, ref: DataRef, partition: str) -> DataPin:
        """Pins the version of the table, and the files that it names for the partition.

        Raises:
            PartitionError: the version has no row of the partition.
            DataError: the table cannot be read as plain Parquet, or the version's files are gone.
        """
        snapshot = self._open_table(ref.path, ref.rev)
        where = f"{ref.path} at {self._kind} version {snapshot.revision}"
        values = self._values(ref, snapshot)
        if values is not None:
            own = [value for value in values if key_of(value, ref.partition) == partition]
            pins = self._files.pin(where, _of_partition(snapshot, ref.partition.column, own))
        else:
            pins = self._pin_rows(where, ref.partition, partition, snapshot)
        if not pins:
            raise self._unknown(ref, partition, where)
        return DataPin(
            path=ref.path,
            rev=snapshot.revision,
            tracked=self._kind,
            digest=digest_files((file.path, file.fingerprint) for file in pins),
            files=tuple(pins),
            storage=self._storage,
        )

    def changes(self, ref: DataRef, partition: str, pin: DataPin) -> tuple[Problem, ...]:
        """What changed of the pinned version's files; a newer version changes nothing of them."""
        return pin_changes(pin, lambda: self.pin(replace(ref, rev=pin.rev), partition))

    def _values(self, ref: DataRef, snapshot: Snapshot) -> list[Any] | None:
        """The column's values where the table is partitioned by it, else None."""
        column = ref.partition.column
        if column not in snapshot.schema.names:
            problem = Problem("data.partition.column", "the table has no such column", column)
            raise DataError(ref.path, (problem,), hint=f"it has {', '.join(snapshot.schema.names)}")
        return snapshot.partition_values(column)

    def _unknown(self, ref: DataRef, partition: str, where: str) -> PartitionError:
        hint = known_hint(self.partitions(ref))
        return PartitionError(
            where, (Problem(ref.partition.column, "no such partition", partition),), hint=hint
        )

    @cached_property
    def _index(self) -> RowIndex:
        return self._rows()

    def _pin_rows(self, where: str, spec: PartitionSpec, partition: str, snapshot: Snapshot) -> list[FilePin]:
        """The files with rows of a partition, where the table is not partitioned by the column."""
        kind = snapshot.schema.field(spec.column).type
        files = snapshot.files(list(_moments(spec, partition, kind)))
        held = row_files(self._files.unhashed(where, files), self._index, spec, partition, self._storage)
        chosen = {pin.path: pin for pin in held}
        pins = self._files.pin(where, [file for file in files if file.key in chosen])
        return [
            replace(pin, row_groups=chosen[pin.path].row_groups, rows=chosen[pin.path].rows) for pin in pins
        ]


def _moments(spec: PartitionSpec, partition: str, kind: pa.DataType) -> Iterator[Predicate]:
    """Conditions that spare a look at most files of other partitions; none where the column is no time."""
    if not (pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
        return
    try:
        first = first_moment(partition, timezone=spec.timezone, key_format=spec.format)
        last = last_moment(partition, timezone=spec.timezone, key_format=spec.format)
    except ValueError:
        return
    ends = (first.date(), last.date()) if pa.types.is_date(kind) else (first, last + timedelta(seconds=1))
    yield Predicate(column=spec.column, op="ge", value=ends[0].isoformat())
    yield Predicate(column=spec.column, op="le", value=ends[1].isoformat())


def key_of(value: Any, spec: PartitionSpec) -> str:
    """The partition that a value of a table's column belongs to.

    A date or a timestamp is written in the key format; one with a time zone as the partition's zone sees it.
    """
    if value is None:
        return NULL
    if isinstance(value, datetime):
        local = value if value.tzinfo is None else value.astimezone(ZoneInfo(spec.timezone))
        return local.strftime(spec.format)
    return value.strftime(spec.format) if isinstance(value, date) else str(value)


def _of_partition(snapshot: Snapshot, column: str, values: Sequence[Any]) -> list[TableFile]:
    """The files of some values of a partition column, which is no path column of theirs."""
    if not values:
        return []
    kind = snapshot.schema.field(column).type
    wanted = {path_column(column, value, kind).value for value in values}
    found = []
    for file in snapshot.files(list(_range(column, values))):
        own = {one.name: one.value for one in file.columns}
        if own[column] in wanted:
            found.append(file._replace(columns=tuple(one for one in file.columns if one.name != column)))
    return found


def _range(column: str, values: Sequence[Any]) -> Iterator[Predicate]:
    """Conditions that spare the table a look at most of the other values; none where there is no order."""
    plain = [value.isoformat() if isinstance(value, date) else value for value in values]
    if all(isinstance(value, str | int | float) for value in plain):
        yield Predicate(column=column, op="ge", value=min(plain))
        yield Predicate(column=column, op="le", value=max(plain))
