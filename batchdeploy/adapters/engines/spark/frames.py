"""Reads pinned files and tables as a Spark DataFrame for validation."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, Protocol

from batchdeploy.adapters.engines.spark.arrow_types import spark_type
from batchdeploy.adapters.engines.spark.conditions import condition
from batchdeploy.adapters.engines.spark.partition_filter import may_belong
from batchdeploy.adapters.engines.spark.stored_files import table_name
from batchdeploy.core.casts import Casts, CastType
from batchdeploy.core.pins import PathColumn
from batchdeploy.core.predicates import Predicate
from batchdeploy.core.records import DataPin

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession


class Join(Protocol):
    """A picklable function that adds columns to batches.

    Attributes:
        fields: the columns that it adds.
    """

    @property
    def fields(self) -> Sequence[pa.Field]: ...

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with these columns."""
        ...


def read_rows(
    spark: SparkSession,
    pin: DataPin,
    partition: tuple[str, str],
    where: Sequence[Predicate],
    *,
    nanoseconds: Collection[str],
    casts: Casts,
    join: Join | None = None,
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
        casts: columns to cast, to which type; a value that is lost in the cast is null.
        join: adds the columns of lookups.
    """
    if pin.tracked == "catalog":
        frame = select_rows(spark.table(table_name(pin.path)), pin)
    else:
        frame = _read(spark, pin)
    if any(file.row_groups is not None for file in pin.files):
        frame = select_rows(frame, pin, nanoseconds)
    if join is not None:
        frame = _join(frame, join)
    if any(name in casts for name in frame.columns):
        frame = _cast(frame, casts, nanoseconds)
    return as_validated(frame, partition, where, nanoseconds)


def as_validated(
    frame: DataFrame,
    partition: tuple[str, str],
    where: Sequence[Predicate],
    nanoseconds: Collection[str] = (),
) -> DataFrame:
    """Rows as a validator takes them: NaN as null, with the partition column, and selected by ``where``.

    Args:
        frame: the rows.
        partition: name and value of the partition column.
        where: predicates that select the rows.
        nanoseconds: the columns that are timestamps, if they are integers.
    """
    from pyspark.sql import functions, types

    floating = (types.DoubleType, types.FloatType)
    columns = []
    for field in frame.schema.fields:
        if field.name == partition[0]:
            continue
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
    groups: dict[tuple[PathColumn, ...], list[str]] = defaultdict(list)
    for file in pin.files:
        groups[file.path_columns].append("file://" + re.sub(r"([\[\]{}*?\\])", r"\\\1", file.location))
    frames = []
    for columns, paths in groups.items():
        frame = spark.read.parquet(*paths)
        given = [column for column in columns if column.name not in frame.columns]
        values = {column.name: _constant(column) for column in given}
        frames.append(frame.withColumns(values) if values else frame)
    return reduce(lambda one, other: one.unionByName(other), frames)


def _constant(column: PathColumn) -> Any:
    """A path column's value, in the type that Spark has for the column's."""
    import pyarrow as pa
    from pyspark.sql import functions
    from pyspark.sql.pandas.types import from_arrow_type

    kind = from_arrow_type(spark_type(pa.type_for_alias(column.type)), prefer_timestamp_ntz=True)
    return functions.lit(column.value).cast(kind)


def _cast(frame: DataFrame, casts: Casts, nanoseconds: Collection[str]) -> DataFrame:
    """The frame with these columns cast in the workers, by the function that casts them for scoring."""
    from pyspark.sql import types

    kinds: dict[CastType, types.DataType] = {
        "boolean": types.BooleanType(),
        "integer": types.IntegerType(),
        "long": types.LongType(),
        "float": types.FloatType(),
        "double": types.DoubleType(),
        "string": types.StringType(),
        "date": types.DateType(),
        "timestamp": types.TimestampNTZType(),
    }
    fields = []
    for field in frame.schema.fields:
        kind = kinds[casts[field.name]] if field.name in casts else field.dataType
        listed = field.name in casts and isinstance(field.dataType, types.ArrayType)
        fields.append(types.StructField(field.name, types.ArrayType(kind) if listed else kind))
    named = [name for name in frame.columns if name in casts]
    fine = [name for name in nanoseconds if name in casts]

    def cast_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        from batchdeploy.kernel.casts import cast_batch
        from batchdeploy.kernel.columns import plain_batch
        from batchdeploy.kernel.scoring import replace_columns

        for batch in batches:
            # Spark reads timestamps in nanoseconds as integers.
            times = {name: batch.column(name).view(pa.timestamp("ns")) for name in fine}
            plain, _ = plain_batch(replace_columns(batch, times).select(named))
            cast = cast_batch(plain, casts).batch
            yield replace_columns(batch, {name: cast.column(name) for name in named})

    return frame.mapInArrow(cast_batches, types.StructType(fields))


def select_rows(frame: DataFrame, pin: DataPin, nanoseconds: Collection[str] = ()) -> DataFrame:
    """The rows of the partition, where a column of the files tells it, chosen as for scoring."""
    key = pin.partition
    if key is None:
        return frame
    # Spark reads timestamps in nanoseconds as integers.
    as_integer = key.column in nanoseconds
    frame = frame if as_integer else may_belong(frame, key)

    def select_rows(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        from batchdeploy.kernel.partition_rows import rows_of_partition

        for batch in batches:
            values = batch.column(key.column)
            values = values.view(pa.timestamp("ns")) if as_integer else values
            yield batch.filter(pa.array(rows_of_partition(values, key)))

    return frame.mapInArrow(select_rows, frame.schema)


def _join(frame: DataFrame, join: Join) -> DataFrame:
    """The frame with the columns of lookups, joined in the workers by the function that scoring uses."""
    import pyarrow as pa
    from pyspark.sql import types
    from pyspark.sql.pandas.types import from_arrow_schema

    fields = [pa.field(field.name, spark_type(field.type)) for field in join.fields]
    added = from_arrow_schema(pa.schema(fields), prefer_timestamp_ntz=True)
    names = frame.columns

    def join_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        for batch in batches:
            joined = join(batch)
            columns = [joined.column(name) for name in names]
            # A time between two microseconds is truncated, as Spark does with those of its own files.
            columns += [joined.column(field.name).cast(field.type, safe=False) for field in fields]
            yield pa.RecordBatch.from_arrays(columns, [*names, *(field.name for field in fields)])

    return frame.mapInArrow(join_batches, types.StructType([*frame.schema.fields, *added.fields]))


def _in_microseconds(column: Any) -> Any:
    """A timestamp from integer nanoseconds, truncated to microseconds."""
    from pyspark.sql import functions

    thousand = functions.lit(1000)
    whole = functions.call_function("div", column - functions.pmod(column, thousand), thousand)
    return functions.timestamp_micros(whole)
