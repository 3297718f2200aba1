"""Flattens list columns to one array of elements, with the row of each element."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


class Elements(NamedTuple):
    """The elements of a list column, nested lists flattened.

    Attributes:
        elements: all elements, in row order.
        rows: the row of each element.
        lengths: the number of elements per row; 0 for null.
    """

    elements: pa.Array
    rows: np.ndarray[Any, Any]
    lengths: np.ndarray[Any, Any]

    def rows_where(self, mask: pa.Array) -> pa.Array:
        """A mask of the rows that have an element selected by ``mask``."""
        import numpy as np
        import pyarrow as pa

        found = np.zeros(len(self.lengths), dtype=bool)
        found[self.rows[mask.fill_null(False).to_numpy(zero_copy_only=False)]] = True
        return pa.array(found)


def is_list(kind: pa.DataType) -> bool:
    """Whether an Arrow type is a list type of any kind."""
    import pyarrow as pa

    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    views = (pa.types.is_list_view, pa.types.is_large_list_view)
    return any(is_kind(kind) for is_kind in (*kinds, *views))


def flatten_lists(values: pa.Array) -> Elements:
    """The elements of a list column, and their rows."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    number, rows = len(values), np.arange(len(values))
    while is_list(values.type):
        # NOTE: a null list of fixed size has elements, which only some of Arrow's functions leave out.
        if values.null_count:
            there = values.is_valid()
            values, rows = values.filter(there), rows[there.to_numpy(zero_copy_only=False)]
        values = values.cast(pa.large_list(values.type.value_type))
        rows = rows[pc.list_parent_indices(values).to_numpy(zero_copy_only=False)]
        values = pc.list_flatten(values)
    if isinstance(values.type, pa.DictionaryType):
        values = values.dictionary_decode()
    return Elements(values, rows, np.bincount(rows, minlength=number))
