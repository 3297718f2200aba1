"""Rows of a batch that belong to the partition, and those whose values contradict their file's folders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from batchdeploy.adapters.parquet_splits.group_statistics import group_bounds
from batchdeploy.core.pins import FilePin, PartitionKey, PathColumn
from batchdeploy.core.work import Split
from batchdeploy.kernel.columns import Masks
from batchdeploy.kernel.partition_rows import rows_of_folder, rows_of_partition
from batchdeploy.kernel.row_filter import FilteredBatch
from batchdeploy.kernel.row_policy import RowFault

if TYPE_CHECKING:
    import numpy as np


class PlacedBatch(NamedTuple):
    """The rows of a batch that belong to the partition.

    Attributes:
        positions: of these rows in the batch that was read; None for all of it.
        inexact: by column, which of these rows hold a time that reading has changed.
        misplaced: by column, which of these rows have another value than their file's folders.
    """

    batch: pa.RecordBatch
    positions: np.ndarray[Any, Any] | None
    inexact: Masks
    misplaced: Masks

    def restore(self, found: FilteredBatch, first_row: int) -> FilteredBatch:
        """The filtered rows with their places in the file, and with the faults of misplaced rows.

        Args:
            found: rows of this batch, counted from its first.
            first_row: where the batch that was read begins in the file.
        """
        import numpy as np

        wrong = ((name, np.flatnonzero(mask[found.places])) for name, mask in self.misplaced.items())
        faults = tuple(RowFault("other_partition", name, rows) for name, rows in wrong if len(rows))
        places = found.places if self.positions is None else self.positions[found.places]
        return found._replace(places=places + first_row, faults=(*found.faults, *faults))


def placing_columns(split: Split) -> Iterator[str]:
    """The columns to read to tell where a split's rows belong."""
    if split.selects and split.partition is not None:
        yield split.partition.column
    yield from (column.name for column in split.checks)


def place_rows(batch: pa.RecordBatch, split: Split, inexact: Masks) -> PlacedBatch:
    """The rows of a batch that belong to the split's partition.

    Args:
        batch: with the columns of `placing_columns`.
        split: where the batch comes from.
        inexact: by column, which rows of the batch hold a time that reading has changed.
    """
    import numpy as np

    key, positions = split.partition, None
    if split.selects and key is not None:
        mine = rows_of_partition(batch.column(key.column), key)
        positions = np.flatnonzero(mine)
        batch = batch.filter(pa.array(mine))
        inexact = {name: mask[mine] for name, mask in inexact.items()}
    misplaced = {}
    for column in split.checks:
        if key is not None:
            misplaced[column.name] = ~rows_of_folder(batch.column(column.name), column.value, key)
    return PlacedBatch(batch, positions, inexact, misplaced)


def folder_checks(file: FilePin, opened: pq.ParquetFile, key: PartitionKey | None) -> tuple[PathColumn, ...]:
    """The columns that a file holds although its folders give them, unless statistics prove them equal."""
    given = list(file.path_columns)
    if key is not None and file.row_groups is None:
        given.append(PathColumn(name=key.column, value=key.value))
    held = set(opened.schema_arrow.names)
    return tuple(c for c in given if key and c.name in held and not _proved(opened, c, key))


def _proved(opened: pq.ParquetFile, column: PathColumn, key: PartitionKey) -> bool:
    """Whether the statistics of every row group say that it has the folder's value alone."""
    kind = opened.schema_arrow.field(column.name).type
    for number in range(opened.num_row_groups):
        found = group_bounds(opened.metadata.row_group(number), column.name, kind)
        if found is None or found.nulls or found.values[0] != found.values[1]:
            return False
        if not rows_of_folder(found.values, column.value, key).all():
            return False
    return True
