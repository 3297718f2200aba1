"""Builds the reference distribution of one column, which drift is measured against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from batchdeploy.core.profiles import ColumnProfile, PartitionCounts, ReferenceColumn, Role
from batchdeploy.kernel.profiling import OUTER, as_numbers, count, make_bins, value_counts

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa


def reference_column(series: pd.Series[Any], role: Role, partitions: Sequence[Any]) -> ReferenceColumn:
    """The column's profile over all rows, and what each partition held.

    Args:
        series: the column's values in the reference period.
        role: whether the column is an input (``feature``) or an output of the model.
        partitions: the row positions of each partition.
    """
    import pyarrow as pa

    values = pa.Array.from_pandas(series)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    parts = [values.take(pa.array(rows)) for rows in partitions]
    return column_of_partitions(str(series.name), role, parts)


def column_of_partitions(name: str, role: Role, parts: Sequence[pa.Array]) -> ReferenceColumn:
    """The reference of a column from its values in each partition."""
    import pyarrow as pa

    values = pa.concat_arrays(parts)
    bins = make_bins(name, role, values)
    counted = [count(bins, part) for part in parts]
    strangers = _outside_others(bins, parts)
    return ReferenceColumn(
        profile=count(bins, values),
        partitions=tuple(
            PartitionCounts(
                counts=one.counts, nulls=one.nulls, unseen=one.unseen, moments=one.moments, outside=rows
            )
            for one, rows in zip(counted, strangers, strict=True)
        ),
    )


def _outside_others(bins: ColumnProfile, parts: Sequence[pa.Array]) -> list[int]:
    """For each partition, its rows that a reference of the other partitions would not know."""
    import numpy as np

    if bins.kind == "categorical":
        named = [value_counts(part) for part in parts]
        holders = Counter(name for names in named for name in names)
        known = {name for name in (*bins.categories, *bins.rare) if holders[name] > 1}
        return [sum(rows for name, rows in names.items() if name not in known) for names in named]
    numbers = [as_numbers(part) for part in parts]
    # No range has infinity in it.
    infinite = [int(np.count_nonzero(np.isinf(part))) for part in numbers]
    finite = [part[np.isfinite(part)] for part in numbers]
    low, high = _below_others(finite), _below_others([-part for part in finite])
    return [sum(rows) for rows in zip(infinite, low, high, strict=True)]


def _below_others(parts: Sequence[np.ndarray[Any, Any]]) -> list[int]:
    """For each partition, its rows below the lowest 0.5% of the other partitions."""
    import numpy as np

    values = np.concatenate(parts)
    owners = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    # Only the lowest values matter: at most one partition's rows, and the 0.5% of the others.
    kept = min(len(values), max(map(len, parts), default=0) + int(OUTER * len(values)) + 2)
    if not kept:
        return [0] * len(parts)
    lowest = np.argpartition(values, kept - 1)[:kept]
    lowest = lowest[np.argsort(values[lowest], kind="stable")]
    found = []
    for place, part in enumerate(parts):
        others = values[lowest][owners[lowest] != place]
        rank = int(OUTER * max(len(values) - len(part) - 1, 0))
        found.append(int(np.count_nonzero(part < others[rank])) if len(others) > rank else 0)
    return found
