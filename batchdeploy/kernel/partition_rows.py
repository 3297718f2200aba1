"""Which partition a row belongs to, told from a column in the files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchdeploy.core.pins import PartitionKey

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


def can_partition(kind: pa.DataType) -> bool:
    """Whether values of a type are exact, so that a text stands for one of them, or for one period."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return can_partition(kind.value_type)
    checks = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_integer,
        pa.types.is_boolean,
        pa.types.is_date,
        pa.types.is_timestamp,
    )
    return any(check(kind) for check in checks)


def partition_texts(values: Any, key: PartitionKey) -> Any:
    """The partition's value that each of these values belongs to; null for null.

    A date or timestamp belongs to the period that the key format writes, in the partition's time zone where
    it has one itself. Numbers are written without leading zeros, booleans as ``true`` and ``false``.

    Args:
        values: an array of a type that `can_partition`.
        key: the partition column.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    if pa.types.is_dictionary(kind):
        return partition_texts(values.cast(kind.value_type), key)
    if not (pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
        return values.cast(pa.string())
    if pa.types.is_date(kind):
        values = values.cast(pa.timestamp("s"))
    elif kind.tz is not None:
        values = values.cast(pa.timestamp(kind.unit, tz=key.timezone))
    whole = pc.floor_temporal(values, unit="second")
    return pc.strftime(whole.cast(pa.timestamp("s", tz=whole.type.tz)), format=key.key_format)


def rows_of_partition(values: Any, key: PartitionKey) -> np.ndarray[Any, Any]:
    """A boolean for each value: whether it belongs to the partition.

    Args:
        values: an array of a type that `can_partition`.
        key: the partition's column and value.
    """
    import pyarrow.compute as pc

    texts = _by_distinct(values, lambda distinct: pc.equal(partition_texts(distinct, key), key.value))
    found: np.ndarray[Any, Any] = texts.fill_null(False).to_numpy(zero_copy_only=False)
    return found


def rows_of_folder(values: Any, text: str | None, key: PartitionKey) -> np.ndarray[Any, Any]:
    """A boolean for each value: whether it is the one that a folder's name tells, as text.

    ``05`` is the number 5, and ``2013-02-01 00:00:00`` the date; null is ``__HIVE_DEFAULT_PARTITION__``.

    Args:
        values: an array.
        text: the folder's value; None for null.
        key: the partition column, whose key format may write a date or timestamp.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if text is None:
        nulls: np.ndarray[Any, Any] = values.is_null().to_numpy(zero_copy_only=False)
        return nulls

    def equal(distinct: Any) -> Any:
        same = pa.array([False] * len(distinct))
        if can_partition(distinct.type):
            same = pc.fill_null(pc.equal(partition_texts(distinct, key), text), False)
        try:
            value = pa.scalar(text).cast(distinct.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return same
        return pc.or_(same, pc.fill_null(pc.equal(distinct, value), False))

    found: np.ndarray[Any, Any] = _by_distinct(values, equal).fill_null(False).to_numpy(zero_copy_only=False)
    return found


def _by_distinct(values: Any, function: Any) -> Any:
    """The function's answers for each value, asked once for each distinct one."""
    import pyarrow as pa

    encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return function(encoded.dictionary).take(encoded.indices)
