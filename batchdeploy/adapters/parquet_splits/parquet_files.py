"""Parquet files opened, and INT96 timestamps that microseconds do not tell."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    import numpy as np

    from batchdeploy.kernel.columns import Masks


def open_file(location: str, **options: Any) -> pq.ParquetFile:
    """An input file; its INT96 timestamps are microseconds, because nanoseconds end in the year 2262.

    pyarrow takes INT96 for nanoseconds by default; a later time then comes out as another, without a word.
    """
    return pq.ParquetFile(location, coerce_int96_timestamp_unit="us", **options)


def int96_loss(file: pq.ParquetFile, location: str, groups: list[int], names: Collection[str]) -> Masks:
    """By INT96 column, which rows of some row groups are no whole microseconds, or beyond 64 bits of them.

    Args:
        file: the file, opened.
        location: where it is.
        groups: its row groups.
        names: the columns to look at.
    """
    import numpy as np

    kinds = {column.path: column.physical_type for column in map(file.schema.column, range(len(file.schema)))}
    wanted = [name for name in dict.fromkeys(names) if kinds.get(name) == "INT96"]
    if not wanted:
        return {}
    read: dict[str, Any] = {}
    for unit in ("ns", "us", "s"):
        with pq.ParquetFile(location, coerce_int96_timestamp_unit=unit) as reopened:
            table = reopened.read_row_groups(groups, columns=wanted)
        read[unit] = {name: _counts(table.column(name)) for name in wanted}
    lost = {}
    for name in wanted:
        nanoseconds, microseconds, seconds = (read[unit][name] for unit in ("ns", "us", "s"))
        # NOTE: both sides wrap the same way, so they differ only by what is finer than a microsecond.
        mask = (microseconds * np.int64(1000) != nanoseconds) | (microseconds // 1_000_000 != seconds)
        if mask.any():
            lost[name] = mask
    return lost


def _counts(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    counts: np.ndarray[Any, Any] = column.cast(pa.int64()).fill_null(0).to_numpy()
    return counts
