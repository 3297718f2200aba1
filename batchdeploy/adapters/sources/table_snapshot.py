"""What a lakehouse table is to a source: one version of it, its columns, and the files that it names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from batchdeploy.core.pins import PathColumn
from batchdeploy.core.predicates import Predicate


class TableFile(NamedTuple):
    """One data file of a table.

    Attributes:
        key: its path relative to the table's, or its URI where it lies elsewhere.
        location: an absolute path or URI.
        columns: the partition columns, whose values the table gives to all rows of the file.
    """

    key: str
    location: str
    columns: tuple[PathColumn, ...]


class Snapshot(Protocol):
    """A table at one version."""

    @property
    def revision(self) -> str:
        """The version or snapshot id."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """The table's columns."""
        ...

    def partition_values(self, column: str) -> list[Any] | None:
        """The distinct values of a column that the table is partitioned by; None if it is not."""
        ...

    def files(self, where: Sequence[Predicate]) -> list[TableFile]:
        """The files that may hold rows matching all predicates, sorted by key.

        Raises:
            DataError: one of them cannot be read as plain Parquet without showing wrong rows.
        """
        ...


# Opens a table by its path and version; null for the newest.
OpenTable = Callable[[str, str | int | None], Snapshot]


def path_column(name: str, value: Any, kind: pa.DataType) -> PathColumn:
    """A partition column's value in one file.

    Args:
        name: of the column.
        value: as Python has it, or None.
        kind: the column's type in the table.
    """
    text = None if value is None else pa.scalar(value, kind).cast(pa.string()).as_py()
    return PathColumn(name=name, value=text, type=_alias(kind))


def _alias(kind: pa.DataType) -> str:
    """The name that pyarrow knows a type by; text for types that have none, such as decimals."""
    names = {"float": "float32", "double": "float64", "date32[day]": "date32", "large_string": "string"}
    name = names.get(str(kind), str(kind))
    try:
        known = pa.type_for_alias(name) == kind
    except ValueError:
        known = False
    return name if known else "string"


def typed(predicate: Predicate, kind: pa.DataType) -> Any:
    """A predicate's value as the column's type has it: a date or a timestamp for ISO 8601."""
    value = predicate.value
    if isinstance(value, str) and pa.types.is_date(kind):
        return date.fromisoformat(value)
    if isinstance(value, str) and pa.types.is_timestamp(kind):
        moment = datetime.fromisoformat(value)
        if kind.tz is None:
            return moment.replace(tzinfo=None)
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return value


def sorted_files(files: Iterable[TableFile]) -> list[TableFile]:
    """The files in the order of their keys, which is that of their pins."""
    return sorted(files, key=lambda file: file.key)
