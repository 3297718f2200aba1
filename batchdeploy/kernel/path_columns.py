"""Adds path columns, such as ``country=US`` in a file's folders, as Arrow columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from batchdeploy.core.pins import PathColumn

if TYPE_CHECKING:
    import pyarrow as pa

Rows = TypeVar("Rows", "pa.RecordBatch", "pa.Table")


def add_path_columns(rows: Rows, columns: Iterable[PathColumn]) -> Rows:
    """Adds a constant column for each path column that the rows do not have yet.

    Args:
        rows: a batch or table of one file's rows.
        columns: the path columns of the file, with types that their values fit.
    """
    import pyarrow as pa

    for column in columns:
        if column.name not in rows.schema.names:
            value = path_value(column)
            field = pa.field(column.name, value.type)
            rows = rows.append_column(field, pa.repeat(value, rows.num_rows))
    return rows


def path_value(column: PathColumn) -> Any:
    """The value of a path column as an Arrow scalar of its type."""
    import pyarrow as pa

    return pa.scalar(column.value, pa.string()).cast(pa.type_for_alias(column.type))
