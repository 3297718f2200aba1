"""Reads pinned files as a Spark DataFrame for validation."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

from batchdeploy.adapters.engines.spark.conditions import condition
from batchdeploy.core.pins import PathColumn
from batchdeploy.core.predicates import Predicate
from batchdeploy.core.records import DataPin

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# Arrow's types of path columns to Spark's.
SPARK_TYPES = {
    "bool": "boolean",
    "int32": "int",
    "int64": "bigint",
    "float32": "float",
    "float64": "double",
    "string": "string",
    "timestamp[us]": "timestamp_ntz",
}


def read_rows(
    spark: SparkSession,
    pin: DataPin,
    partition: tuple[str, str],
    where: Sequence[Predicate],
    nanoseconds: Collection[str],
) -> DataFrame:
    """The partition as a Spark DataFrame over exactly the pinned files.

    NaN becomes null, as in pandas: Spark treats NaN as larger than any number, so it would pass a not-null
    check and a lower bound.

    Args:
        spark: the session.
        pin: the files to read.
        partition: name and value of the partition column, which the files do not hold.
        where: predicates that select the rows.
        nanoseconds: the columns that hold timestamps in nanoseconds; Spark has them in microseconds.
    """
    from pyspark.sql import functions, types

    frame = _read(spark, pin)
    floating = (types.DoubleType, types.FloatType)
    columns = []
    for field in frame.schema.fields:
        column = functions.col("`" + field.name.replace("`", "``") + "`")
        if isinstance(field.dataType, floating):
            column = functions.when(~functions.isnan(column), column).alias(field.name)
        elif field.name in nanoseconds and isinstance(field.dataType, types.LongType):
            column = _in_microseconds(column).alias(field.name)
        columns.append(column)
    frame = frame.select(*columns, functions.lit(partition[1]).alias(partition[0]))
    for predicate in where:
        column = functions.col("`" + predicate.column.replace("`", "``") + "`")
        frame = frame.filter(condition(column, predicate))
    return frame


def _read(spark: SparkSession, pin: DataPin) -> DataFrame:
    """The files as they are, with the columns that their folders give."""
    from pyspark.sql import functions

    groups: dict[tuple[PathColumn, ...], list[str]] = defaultdict(list)
    for file in pin.files:
        groups[file.path_columns].append("file://" + re.sub(r"([\[\]{}*?\\])", r"\\\1", file.location))
    frames = []
    for columns, paths in groups.items():
        frame = spark.read.parquet(*paths)
        given = [column for column in columns if column.name not in frame.columns]
        values = {c.name: functions.lit(c.value).cast(SPARK_TYPES[c.type]) for c in given}
        frames.append(frame.withColumns(values) if values else frame)
    return reduce(lambda one, other: one.unionByName(other), frames)


def _in_microseconds(column: Any) -> Any:
    """A timestamp from integer nanoseconds, truncated to microseconds."""
    from pyspark.sql import functions

    thousand = functions.lit(1000)
    whole = functions.call_function("div", column - functions.pmod(column, thousand), thousand)
    return functions.timestamp_micros(whole)
