"""Hashes keys to 64 bits, for an order-independent checksum of rows and to find duplicate keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

MASK = 2**64 - 1
NULL = 0x9E3779B97F4A7C15


def hash_keys(keys: pa.RecordBatch | pa.Table) -> np.ndarray[Any, Any]:
    """A 64-bit hash per row of keys; equal keys have equal hashes in any file and integer width.

    Without nulls it equals ``pd.util.hash_pandas_object(keys, index=False)``.
    """
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    columns = {name: _plain(keys.column(name)) for name in keys.schema.names}
    # Keys rarely repeat, so hashing only the distinct ones would not save time.
    found = pd.util.hash_pandas_object(pd.DataFrame(columns, copy=False), index=False, categorize=False)
    hashes: np.ndarray[Any, Any] = found.to_numpy()
    for place, name in enumerate(keys.schema.names):
        values = keys.column(name)
        if values.null_count and pa.types.is_integer(values.type):
            null = values.is_null().to_numpy(zero_copy_only=False)
            hashes = np.where(null, hashes ^ np.uint64(NULL + place), hashes)
    return hashes


def _plain(values: pa.Array | pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """Integers with null as 0, because converted to floats they would hash differently; the rest as text."""
    import pyarrow as pa

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
    """The sum of the hashes modulo 2**64. Unlike with XOR, a duplicated row does not cancel out."""
    return int(hashes.sum(dtype="uint64")) & MASK


def checksum(keys: pa.RecordBatch | pa.Table) -> int:
    """An order-independent checksum of rows of keys."""
    return sum_hashes(hash_keys(keys))


class RepeatedKeys(NamedTuple):
    """Keys that occur more than once in a partition.

    Attributes:
        hashes: the hash of each, with others' perhaps.
        keys: the keys, as `key_tuples` gives them.
    """

    hashes: np.ndarray[Any, Any]
    keys: frozenset[tuple[Any, ...]]


def repeated_hashes(parts: Iterable[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """The hashes that occur more than once, sorted. Takes 16 bytes of memory per row."""
    import numpy as np

    hashes = np.sort(np.concatenate([np.empty(0, "uint64"), *parts]))
    repeated: np.ndarray[Any, Any] = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    return repeated


def candidate_keys(
    keys: pa.RecordBatch, hashes: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], list[tuple[Any, ...]]]:
    """The positions of the rows whose keys have one of these hashes, and these keys.

    Args:
        keys: the key columns of rows.
        hashes: what `hash_keys` gives for the keys that are looked for.
    """
    import numpy as np
    import pyarrow as pa

    rows = np.flatnonzero(np.isin(hash_keys(keys), hashes))
    return rows, key_tuples(pa.Table.from_batches([keys]).take(rows)) if len(rows) else []


def duplicate_rows(
    parts: Sequence[np.ndarray[Any, Any]],
    keys_of: Callable[[int, np.ndarray[Any, Any]], Sequence[tuple[Any, ...]]],
) -> dict[int, tuple[int, ...]]:
    """The positions of rows with duplicate keys, by index of the part; parts without any are left out.

    Rows with equal hashes are compared by their keys. Rows with a null key
    do not count as duplicates of each other; the policy has a separate rule for them.

    Args:
        parts: the hash of each row's keys, one array per part.
        keys_of: returns the keys of some rows of a part, given the part's index in ``parts``.
    """
    import numpy as np

    twice = repeated_hashes(parts)
    if not len(twice):
        return {}
    suspects = {place: np.flatnonzero(np.isin(part, twice)) for place, part in enumerate(parts)}
    found = {place: keys_of(place, rows) for place, rows in suspects.items() if len(rows)}
    times = Counter(key for keys in found.values() for key in keys)
    doubled = {
        place: tuple(
            int(row)
            for row, key in zip(suspects[place], keys, strict=True)
            if times[key] > 1 and None not in key
        )
        for place, keys in found.items()
    }
    return {place: rows for place, rows in doubled.items() if rows}


def key_tuples(keys: pa.Table) -> list[tuple[Any, ...]]:
    """The keys of each row as text."""
    import pyarrow as pa

    columns = [column.cast(pa.string()).to_pylist() for column in keys.columns]
    return list(zip(*columns, strict=True))
