"""Iceberg tables at a snapshot: the files that it names, and what plain Parquet would show wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any

import pyarrow as pa

from batchdeploy.adapters.sources.iceberg_catalog import load_table, translate_failures
from batchdeploy.adapters.sources.table_snapshot import TableFile, path_column, sorted_files, typed
from batchdeploy.core.pins import PathColumn
from batchdeploy.core.predicates import Predicate
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.errors import DataError, Problem

OPERATORS = {
    "eq": "EqualTo",
    "ne": "NotEqualTo",
    "ge": "GreaterThanOrEqual",
    "gt": "GreaterThan",
    "le": "LessThanOrEqual",
    "lt": "LessThan",
}
COMPACT = "rewrite_data_files, in Spark or Trino, writes such files anew"


class IcebergSnapshot:
    """An Iceberg table at one snapshot.

    Args:
        path: ``CATALOG.NAMESPACE.TABLE``, with a catalog of pyiceberg's own configuration; or the absolute
            path or URI of a table's folder or of its ``*.metadata.json``.
        rev: a snapshot id, or the name of a branch or tag; null for the newest.
        storage: how to reach an object store.

    Raises:
        DataError: there is no such table or snapshot, or it has renamed columns.
        SourceError: the catalog or the store failed.
    """

    def __init__(self, path: str, rev: str | int | None, storage: StorageSpec) -> None:
        self._path = path
        self._table = load_table(path, storage)
        self._snapshot = self._find(rev)
        self.revision = str(self._snapshot.snapshot_id)
        if problems := tuple(self._renamed()):
            raise DataError(path, problems, hint="write the rows to a new table")

    def _find(self, rev: str | int | None) -> Any:
        table = self._table
        if rev is None:
            found, what = table.current_snapshot(), "the table has no snapshot yet"
        elif str(rev).isdecimal():
            found, what = table.snapshot_by_id(int(rev)), "the table has no such snapshot, or it expired"
        else:
            found, what = table.snapshot_by_name(str(rev)), "the table has no such branch or tag"
        if found is None:
            known = [str(one.snapshot_id) for one in table.snapshots()[-3:]]
            hint = f"the newest snapshots are {', '.join(known)}" if known else "write rows to it first"
            problem = Problem("data.rev", what, None if rev is None else str(rev))
            raise DataError(self._path, (problem,), hint=hint)
        return found

    @cached_property
    def _schema(self) -> Any:
        """The schema that the snapshot was written with."""
        schemas = {one.schema_id: one for one in self._table.metadata.schemas}
        return schemas.get(self._snapshot.schema_id) or self._table.schema()

    @cached_property
    def schema(self) -> pa.Schema:
        """The table's columns."""
        from pyiceberg.io.pyarrow import schema_to_pyarrow

        return schema_to_pyarrow(self._schema, include_field_ids=False)

    def _renamed(self) -> Iterator[Problem]:
        """Columns whose name stood for another column once, or that had another name, up to the snapshot.

        Iceberg finds a file's columns by their ids, and plain Parquet by their names.
        """
        names, ids = defaultdict(set), defaultdict(set)
        for schema in self._schemas():
            for field in schema.fields:
                names[field.field_id].add(field.name)
                ids[field.name].add(field.field_id)
        for field in self._schema.fields:
            if others := sorted(names[field.field_id] - {field.name}):
                what = "was renamed; older files hold it under another name"
                yield Problem(field.name, what, ", ".join(others))
            elif len(ids[field.name]) > 1:
                yield Problem(field.name, "was dropped and added again; older files hold the dropped column")

    def _schemas(self) -> list[Any]:
        """The schemas that the snapshot's files may have been written with: not those that came later.

        Where snapshots before it have expired, nothing tells their schemas, and all count.
        """
        known, last, one = self._table.metadata.schemas, -1, self._snapshot
        while one is not None:
            if one.schema_id is None:
                return list(known)
            last, parent = max(last, one.schema_id), one.parent_snapshot_id
            one = None if parent is None else self._table.snapshot_by_id(parent)
            if one is None and parent is not None:
                return list(known)
        return [schema for schema in known if schema.schema_id <= last]

    def partition_values(self, column: str) -> list[Any] | None:
        """The distinct values of a column that all files are partitioned by, null among them; else None."""
        found: dict[Any, None] = {}
        for file in self._plan(()):
            values = dict(self._identities(file))
            if column not in values:
                return None
            found[values[column]] = None
        return list(found)

    def files(self, where: Sequence[Predicate]) -> list[TableFile]:
        """The files that may hold rows matching all predicates, sorted by key.

        Raises:
            DataError: one of them has rows that were deleted by a file beside it, or is not Parquet.
        """
        files, problems = [], []
        for task in self._tasks(where):
            key = self._key(task.file.file_path)
            if task.delete_files:
                what = "has delete files: plain Parquet would show rows that were deleted"
                problems.append(Problem(key, what))
            elif task.file.file_format.name != "PARQUET":
                problems.append(Problem(key, "is not Parquet", task.file.file_format.name))
            files.append(TableFile(key, _location(task.file.file_path), tuple(self._path_columns(task.file))))
        if problems:
            raise DataError(self._path, tuple(problems), hint=COMPACT)
        return sorted_files(files)

    def _plan(self, where: Sequence[Predicate]) -> Iterator[Any]:
        return (task.file for task in self._tasks(where))

    def _tasks(self, where: Sequence[Predicate]) -> list[Any]:
        from pyiceberg import expressions

        conditions = [
            getattr(expressions, OPERATORS[one.op])(
                one.column, typed(one, self.schema.field(one.column).type)
            )
            for one in where
        ]
        row_filter: Any = expressions.AlwaysTrue()
        for condition in conditions:
            row_filter = expressions.And(row_filter, condition)
        with translate_failures(self._path):
            scan = self._table.scan(row_filter=row_filter, snapshot_id=self._snapshot.snapshot_id)
            return list(scan.plan_files())

    def _key(self, uri: str) -> str:
        return uri.removeprefix(f"{self._table.location().rstrip('/')}/")

    def _identities(self, file: Any) -> Iterator[tuple[str, Any]]:
        """The columns that a file's partition gives the values of, as Python has them."""
        spec = self._table.specs()[file.spec_id]
        for position, field in enumerate(spec.fields):
            if str(field.transform) == "identity" and (
                name := self._schema.find_column_name(field.source_id)
            ):
                yield name, _value(file.partition[position], str(self._schema.find_type(field.source_id)))

    def _path_columns(self, file: Any) -> Iterator[PathColumn]:
        for name, value in self._identities(file):
            yield path_column(name, value, self.schema.field(name).type)


def _location(uri: str) -> str:
    """A local path as such; the names of its folders may hold percent signs, which stand for themselves."""
    return uri.removeprefix("file://").removeprefix("file:") if uri.startswith("file:") else uri


def _value(found: Any, kind: str) -> Any:
    """A partition's value, which manifests hold as days and microseconds since 1970."""
    if found is None or not isinstance(found, int):
        return found
    if kind == "date":
        return date(1970, 1, 1) + timedelta(days=found)
    if kind.startswith("timestamp") and "_ns" not in kind:
        zone = UTC if kind.startswith("timestamptz") else None
        return datetime(1970, 1, 1, tzinfo=zone) + timedelta(microseconds=found)
    return found
