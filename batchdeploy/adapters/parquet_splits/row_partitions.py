"""Partitions in an ordinary column of the files: their values, and the row groups that hold each.

A row group whose statistics say that it has one value, or cannot have the wanted one, is not read. Of the
others the column is read, and no other.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import NamedTuple

import pyarrow as pa

from batchdeploy.adapters.parquet_splits.group_statistics import group_bounds
from batchdeploy.adapters.parquet_splits.input_checks import Footer, read_footer
from batchdeploy.adapters.parquet_splits.parquet_files import open_file
from batchdeploy.adapters.parquet_splits.pinned_files import open_pinned
from batchdeploy.core.deployment import PartitionSpec
from batchdeploy.core.partition_names import NULL
from batchdeploy.core.partitions import partition_key
from batchdeploy.core.pins import FilePin, PartitionKey
from batchdeploy.core.policy import LimitsSpec
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.errors import DataError, Problem
from batchdeploy.kernel.partition_rows import can_partition, partition_texts

Counts = dict[str | None, int]


class RowPartitions:
    """Reads what partitions files hold; what was read of a file is kept while the file stays the same.

    Args:
        limits: the largest footer.
    """

    def __init__(self, limits: LimitsSpec = LimitsSpec()) -> None:
        self._limits = limits
        self._footers: dict[tuple[str, str], Footer] = {}
        self._counts: dict[tuple[str, str, str, int], Counts] = {}

    def values(self, file: FilePin, spec: PartitionSpec, storage: StorageSpec = StorageSpec()) -> set[str]:
        """The values that rows of a file have, null as ``__HIVE_DEFAULT_PARTITION__``.

        Raises:
            DataError: the file cannot be read, or has no such column, or one that does not tell partitions.
        """
        key, footer = partition_key(spec, ""), self._footer(file, spec, storage)
        found: set[str] = set()
        for group in range(footer.metadata.num_row_groups):
            counts = self._group(file, footer, group, (key, storage))
            found |= {NULL if text is None else text for text in counts}
        return found

    def select(
        self, file: FilePin, spec: PartitionSpec, value: str, storage: StorageSpec = StorageSpec()
    ) -> tuple[tuple[int, ...], int]:
        """The row groups of a file that hold rows of a partition, and how many rows they hold of it.

        Raises:
            DataError: the file cannot be read, or has no such column, or one that does not tell partitions.
        """
        key, footer = partition_key(spec, value), self._footer(file, spec, storage)
        rows = {}
        for group in range(footer.metadata.num_row_groups):
            if _may_hold(_bounds(footer, group, key), footer.schema.field(key.column).type, key):
                rows[group] = self._group(file, footer, group, (key, storage)).get(value, 0)
        chosen = tuple(group for group, count in rows.items() if count)
        return chosen, sum(rows.values())

    def _footer(self, file: FilePin, spec: PartitionSpec, storage: StorageSpec) -> Footer:
        known = (file.location, _state(file))
        if known not in self._footers:
            footer = read_footer(file, storage=storage, limits=self._limits)
            if isinstance(footer, Problem):
                raise DataError(file.path, (footer,))
            self._footers[known] = footer
        footer, name = self._footers[known], spec.column
        if name not in footer.schema.names:
            folder = file.location.removesuffix(f"/{file.path}")
            text = f"no folder named {name}=VALUE in {folder}, and no column {name} in the files"
            raise DataError(file.path, (Problem("data.partition.column", text, _some(footer.schema.names)),))
        kind = footer.schema.field(name).type
        if not can_partition(kind):
            text = f"the column {name} of the files is not exact text, number, date or time"
            raise DataError(file.path, (Problem("data.partition.column", text, str(kind)),))
        return footer

    def _group(
        self, file: FilePin, footer: Footer, group: int, how: tuple[PartitionKey, StorageSpec]
    ) -> Counts:
        """Rows of a row group by value: from its statistics where they tell, else from the column."""
        key, storage = how
        rows = footer.metadata.row_group(group).num_rows
        bounds = _bounds(footer, group, key)
        if bounds is not None and bounds.low == bounds.high and not bounds.nulls:
            return {bounds.low: rows}
        known = (file.location, _state(file), key.column, group)
        if known not in self._counts:
            self._counts[known] = _read_counts(file, group, key, storage)
        return self._counts[known]


class Bounds(NamedTuple):
    """The partitions of a row group's least and greatest value, as its statistics tell."""

    low: str
    high: str
    nulls: bool


def _bounds(footer: Footer, group: int, key: PartitionKey) -> Bounds | None:
    kind = footer.schema.field(key.column).type
    found = group_bounds(footer.metadata.row_group(group), key.column, kind)
    if found is None:
        return None
    try:
        low, high = partition_texts(found.values, key).to_pylist()
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None
    return Bounds(low, high, found.nulls)


def _may_hold(bounds: Bounds | None, kind: pa.DataType, key: PartitionKey) -> bool:
    """Whether a row group can have rows of the partition."""
    if bounds is None:
        return True
    texts = (bounds.low, key.value, bounds.high)
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    try:
        if pa.types.is_integer(kind):
            low, value, high = map(int, texts)
            return low <= value <= high
        if pa.types.is_temporal(kind):
            first, wanted, last = (datetime.strptime(text, key.key_format) for text in texts)
            return first <= wanted <= last
    except ValueError:
        # The text is no number, or of a format that cannot be put in order: the column itself tells.
        return True
    return bounds.low <= key.value <= bounds.high


def _read_counts(file: FilePin, group: int, key: PartitionKey, storage: StorageSpec) -> Counts:
    counts: Counter[str | None] = Counter()
    try:
        with open_pinned(file, storage) as source, open_file(source) as opened:
            values = opened.read_row_group(group, columns=[key.column]).column(0)
    except (pa.ArrowException, OSError) as error:
        raise DataError(file.path, (Problem(file.path, "its pages cannot be read", str(error)),)) from error
    distinct = values.value_counts()
    texts = partition_texts(distinct.field("values"), key).to_pylist()
    for text, rows in zip(texts, distinct.field("counts").to_pylist(), strict=True):
        counts[text] += rows
    return dict(counts)


def _state(file: FilePin) -> str:
    return str(file.identity) if file.identity is not None else file.fingerprint


def _some(names: list[str]) -> str:
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
