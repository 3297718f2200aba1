"""Conditions by which Spark leaves out most rows of other partitions; the kernel leaves out the rest."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from batchdeploy.core.calendar import first_moment, last_moment
from batchdeploy.core.pins import PartitionKey

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

# Wider than any two time zones are apart.
MARGIN = timedelta(days=2)
LARGEST = 1 << 63


def may_belong(frame: DataFrame, key: PartitionKey) -> DataFrame:
    """The rows that may belong to a partition, which Spark can tell from folders and statistics.

    Args:
        frame: with the partition's column.
        key: the partition.
    """
    from pyspark.sql import functions

    kinds = {field.name: field.dataType for field in frame.schema.fields}
    if key.column not in kinds:
        return frame
    column = functions.col("`" + key.column.replace("`", "``") + "`")
    found = _condition(column, kinds[key.column], key)
    return frame if found is None else frame.filter(found)


def _condition(column: Column, kind: object, key: PartitionKey) -> Column | None:
    from pyspark.sql import types

    if isinstance(kind, types.StringType):
        return column == key.value
    if isinstance(kind, types.IntegralType):
        try:
            number = int(key.value)
        except ValueError:
            return None
        # NOTE: PySpark cannot hand over a larger number; no column holds it.
        return column == number if -LARGEST <= number < LARGEST else None
    if not isinstance(kind, types.DateType | types.TimestampType | types.TimestampNTZType):
        return None
    try:
        first = first_moment(key.value, timezone=key.timezone, key_format=key.key_format) - MARGIN
        last = last_moment(key.value, timezone=key.timezone, key_format=key.key_format) + MARGIN
    except (ValueError, OverflowError):
        return None
    return column.between(first.date(), last.date())
