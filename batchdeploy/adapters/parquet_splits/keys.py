"""Keys as 64-bit hashes: an order-free checksum of what went in and out, and keys that are not unique."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from batchdeploy.adapters.parquet_splits.row_reader import read_batches
from batchdeploy.core.work import ScoreJob, Split, SplitResult

if TYPE_CHECKING:
    import numpy as np

MASK = 2**64 - 1
NULL = 0x9E3779B97F4A7C15


def hash_keys(keys: pa.RecordBatch | pa.Table) -> np.ndarray[Any, Any]:
    """A 64-bit hash for each row of keys; the same for the same keys in any file and width of integer.

    Without a null it is pandas' own, ``pd.util.hash_pandas_object(keys, index=False)``.
    """
    import numpy as np
    import pandas as pd

    columns = {name: _plain(keys.column(name)) for name in keys.schema.names}
    # Keys hardly ever repeat; looking for the distinct ones first would be work for nothing.
    found = pd.util.hash_pandas_object(pd.DataFrame(columns, copy=False), index=False, categorize=False)
    hashes: np.ndarray[Any, Any] = found.to_numpy()
    for place, name in enumerate(keys.schema.names):
        values = keys.column(name)
        if values.null_count and pa.types.is_integer(values.type):
            null = values.is_null().to_numpy(zero_copy_only=False)
            hashes = np.where(null, hashes ^ np.uint64(NULL + place), hashes)
    return hashes


def _plain(values: pa.Array | pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """Integers as such, a null as 0, for as floats they would hash otherwise; all else as text."""
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if not pa.types.is_integer(array.type):
        array = array.cast(pa.string())
    elif pa.types.is_unsigned_integer(array.type):
        array = array.cast(pa.uint64()).fill_null(0)
    else:
        array = array.cast(pa.int64()).fill_null(0)
    plain: np.ndarray[Any, Any] = array.to_numpy(zero_copy_only=False)
    return plain


def sum_hashes(hashes: np.ndarray[Any, Any]) -> int:
    """The sum of the hashes, modulo 2**64. Unlike XOR, a row that is there twice does not cancel out."""
    return int(hashes.sum(dtype="uint64")) & MASK


def checksum(keys: pa.RecordBatch | pa.Table) -> int:
    """An order-free checksum of rows of keys."""
    return sum_hashes(hash_keys(keys))


def write_hashes(staging: Path, name: str, hashes: Sequence[np.ndarray[Any, Any]]) -> str:
    """Leaves a split's hashes in staging for `find_duplicates`; gives the file's name."""
    import numpy as np

    file = staging / "keys" / f"{name}.npy"
    file.parent.mkdir(exist_ok=True)
    np.save(file, np.concatenate(hashes) if hashes else np.empty(0, "uint64"))
    return file.name


def find_duplicates(
    job: ScoreJob, splits: Sequence[Split], results: Sequence[SplitResult]
) -> tuple[Split, ...]:
    """The splits with rows whose keys are not unique in the partition, with those rows named.

    Takes 16 bytes of memory for each row. Rows whose hashes meet are compared by their keys.

    Args:
        job: what was done.
        splits: all of the partition's.
        results: what became of them; in any order.
    """
    import numpy as np

    ordered = sorted(results, key=lambda result: result.index)
    parts = [np.load(Path(job.staging) / "keys" / result.keys) for result in ordered]
    hashes = np.concatenate([np.empty(0, "uint64"), *parts])
    ranked = np.sort(hashes)
    twice = np.unique(ranked[1:][ranked[1:] == ranked[:-1]])
    if not len(twice):
        return ()
    by_index = {split.index: split for split in splits}
    suspects: list[tuple[Split, np.ndarray[Any, Any], list[tuple[Any, ...]]]] = []
    for result, part in zip(ordered, parts, strict=True):
        rows = np.flatnonzero(np.isin(part, twice))
        if len(rows):
            split = by_index[result.index]
            suspects.append((split, rows, _read_keys(split, rows, job)))
    counts: dict[tuple[Any, ...], int] = {}
    for _, _, found in suspects:
        for key in found:
            counts[key] = counts.get(key, 0) + 1
    marked = [
        (split, tuple(int(row) for row, key in zip(rows, found, strict=True) if _is_duplicate(key, counts)))
        for split, rows, found in suspects
    ]
    return tuple(replace(split, duplicates=rows) for split, rows in marked if rows)


def _is_duplicate(key: tuple[Any, ...], counts: dict[tuple[Any, ...], int]) -> bool:
    """Rows without a key are no duplicates of each other: they have a rule of their own."""
    return counts[key] > 1 and None not in key


def _read_keys(split: Split, rows: np.ndarray[Any, Any], job: ScoreJob) -> list[tuple[Any, ...]]:
    table = pa.Table.from_batches([filtered.batch for filtered in read_batches(split, job, job.keys)])
    columns = [column.cast(pa.string()).to_pylist() for column in table.take(rows).columns]
    return list(zip(*columns, strict=True))
