"""Builds the reference distribution of one column, which drift is measured against."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from batchdeploy.core.drift import calibrate
from batchdeploy.core.profiles import ReferenceColumn, Role
from batchdeploy.kernel.profiling import count, make_bins

if TYPE_CHECKING:
    import pandas as pd


def reference_column(series: pd.Series[Any], role: Role, partitions: Iterable[Any]) -> ReferenceColumn:
    """The column's profile, and how far its partitions deviate from it.

    Args:
        series: the column's values in the reference period.
        role: whether the column is an input (``feature``) or an output of the model.
        partitions: the row positions of each partition.
    """
    import pyarrow as pa

    values = pa.Array.from_pandas(series)
    bins = make_bins(str(series.name), role, values)
    parts = [count(bins, values.take(pa.array(rows))) for rows in partitions]
    return calibrate(count(bins, values), parts)
