"""What the statistics of a row group say of a column."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq


class GroupBounds(NamedTuple):
    """The values of a column in one row group.

    Attributes:
        values: the least and the greatest, in the column's type.
        nulls: whether there are nulls.
    """

    values: pa.Array
    nulls: bool


def group_bounds(group: pq.RowGroupMetaData, name: str, kind: pa.DataType) -> GroupBounds | None:
    """The bounds of a column; None where the statistics do not tell them.

    Args:
        group: the row group.
        name: of the column.
        kind: its type in the file's schema.
    """
    paths = [group.column(i).path_in_schema for i in range(group.num_columns)]
    found = group.column(paths.index(name)).statistics if name in paths else None
    if found is None or not found.has_min_max or not found.has_null_count:
        return None
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    try:
        return GroupBounds(pa.array([found.min, found.max], kind), found.null_count > 0)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None
