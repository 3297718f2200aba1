"""Opens Parquet files, and finds INT96 timestamps that do not fit microseconds."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    import numpy as np

    from batchdeploy.kernel.columns import Masks


class PinnedInput(Protocol):
    """The pinned content of one file, wherever it lies.

    Attributes:
        remote: whether each read is a request to a store.
    """

    @property
    def remote(self) -> bool: ...

    def open(self) -> Any:
        """A new seekable stream over the content, as pyarrow takes it; the caller closes it."""
        ...


@contextmanager
def open_file(source: PinnedInput, *, unit: str = "us", **options: Any) -> Iterator[pq.ParquetFile]:
    """Opens a Parquet file with INT96 timestamps as microseconds.

    By default pyarrow reads INT96 as nanoseconds, and silently wraps times after the year 2262. Of a remote
    file, the wanted column chunks are fetched ahead, neighbours in one request.

    Args:
        source: the file.
        unit: the unit of INT96 timestamps.
        options: further ones of pyarrow's.
    """
    with (
        source.open() as stream,
        pq.ParquetFile(stream, coerce_int96_timestamp_unit=unit, pre_buffer=source.remote, **options) as file,
    ):
        yield file


def int96_loss(file: pq.ParquetFile, source: PinnedInput, groups: list[int], names: Collection[str]) -> Masks:
    """By INT96 column, a mask of the rows whose timestamp is not exact in 64-bit microseconds.

    Args:
        file: the open file.
        source: the same file, to open again.
        groups: the row groups to check.
        names: the columns to check.
    """
    import numpy as np

    kinds = {column.path: column.physical_type for column in map(file.schema.column, range(len(file.schema)))}
    wanted = [name for name in dict.fromkeys(names) if kinds.get(name) == "INT96"]
    if not wanted:
        return {}
    read: dict[str, Any] = {}
    for unit in ("ns", "us", "s"):
        with open_file(source, unit=unit) as reopened:
            table = reopened.read_row_groups(groups, columns=wanted)
        read[unit] = {name: _counts(table.column(name)) for name in wanted}
    lost = {}
    for name in wanted:
        nanoseconds, microseconds, seconds = (read[unit][name] for unit in ("ns", "us", "s"))
        # NOTE: both sides wrap alike, so they differ only if the time is finer than a microsecond.
        mask = (microseconds * np.int64(1000) != nanoseconds) | (microseconds // 1_000_000 != seconds)
        if mask.any():
            lost[name] = mask
    return lost


def _counts(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    counts: np.ndarray[Any, Any] = column.cast(pa.int64()).fill_null(0).to_numpy()
    return counts
