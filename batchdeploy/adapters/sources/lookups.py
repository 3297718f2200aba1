"""Pins the tables of feature lookups together with the rows that they are joined to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from batchdeploy.adapters.sources.lookup_files import LookupFiles
from batchdeploy.adapters.sources.lookup_tables import LookupTables
from batchdeploy.core.calendar import end_moment
from batchdeploy.core.deployment import DataRef, PartitionSpec
from batchdeploy.core.lookups import LookupSpec, pairs
from batchdeploy.core.pins import DataPin, FilePin, LookupPin, digest_files, file_changes
from batchdeploy.errors import DataError, PartitionError, Problem
from batchdeploy.ports import Source


class LookupSource:
    """A source whose partitions are pinned with the tables that their rows are joined with.

    Args:
        source: reads the rows.
        files: pins plain Parquet files.
        tables: pins lakehouse tables.
    """

    def __init__(self, source: Source, files: LookupFiles, tables: LookupTables) -> None:
        self._source = source
        self._files = files
        self._tables = tables

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
            DataError: a table is missing, or cannot be read as plain Parquet files.
            SourceError: a store or DVC failed.
        """
        pin = self._source.pin(ref, partition)
        lookups = tuple(self._pins(ref, partition))
        contents = [(file.path, file.fingerprint) for lookup in lookups for file in lookup.files]
        return replace(pin, lookups=lookups, digest=digest_files([("", pin.digest), *contents]))

    def changes(self, ref: DataRef, partition: str, pin: DataPin) -> tuple[Problem, ...]:
        """What changed since the partition was pinned, by file, in the rows and in the tables."""
        problems = list(self._source.changes(ref, partition, pin))
        for lookup in pin.lookups:
            (self._files if lookup.format == "parquet" else self._tables).remember(lookup.files)
            try:
                _, now = self._pinned(lookup, key="data.lookups")
            except DataError:
                now = ()
            problems += file_changes(lookup.files, now)
        return tuple(problems)

    def _pins(self, ref: DataRef, partition: str) -> Iterator[LookupPin]:
        for number, lookup in enumerate(ref.lookups):
            rev, files = self._pinned(lookup, key=f"data.lookups.{number}")
            yield LookupPin(
                path=lookup.path,
                keys=pairs(lookup.keys),
                columns=pairs(lookup.columns),
                as_of=lookup.as_of,
                until=None if lookup.as_of is None else _end(ref.partition, partition),
                files=files,
                storage=self._files.storage,
                format=lookup.format,
                rev=rev,
            )

    def _pinned(self, lookup: LookupSpec | LookupPin, *, key: str) -> tuple[str | None, tuple[FilePin, ...]]:
        """The version of a lookup's table, if it has such, and its files; a pin names the version."""
        if lookup.format == "parquet":
            return None, self._files.pin(lookup.path, key=f"{key}.path")
        return self._tables.pin((lookup.format, lookup.path), lookup.rev, key=key)


def _end(spec: PartitionSpec, partition: str) -> str:
    """When a partition has ended, ISO 8601."""
    try:
        end = end_moment(partition, timezone=spec.timezone, key_format=spec.format)
    except ValueError:
        what = f"is no time written as {spec.format!r}, so that data.lookups cannot tell what as_of was known"
        raise PartitionError(spec.column, (Problem(spec.column, what, partition),)) from None
    return end.isoformat()
