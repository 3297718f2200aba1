"""Reads splits in the workers as a Spark DataFrame, for files that the JVM cannot open as pinned."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from batchdeploy.adapters.engines.spark.arrow_types import spark_type
from batchdeploy.adapters.engines.spark.frames import as_validated
from batchdeploy.adapters.engines.spark.jobs import refusals_as_text
from batchdeploy.core.predicates import Predicate
from batchdeploy.core.work import Split

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

# Rows of a batch on its way to the JVM; Spark's own default is the same.
BATCH_ROWS = 10_000


class SplitReader(Protocol):
    """A picklable function that reads a split.

    Attributes:
        schema: of the rows, as the files hold them.
        instants: the timestamps without a zone that Spark has in UTC when it reads them itself.
    """

    @property
    def schema(self) -> pa.Schema: ...

    @property
    def instants(self) -> frozenset[str]: ...

    def __call__(self, split: Split) -> pa.Table:
        """The rows of a split."""
        ...


def read_split_rows(
    spark: SparkSession,
    splits: Sequence[Split],
    read: SplitReader,
    partition: tuple[str, str],
    where: Sequence[Predicate],
) -> DataFrame:
    """The rows of splits as a Spark DataFrame, one task for each split; types as in `frames.read_rows`.

    Args:
        spark: the session.
        splits: what to read.
        read: reads one of them in a worker.
        partition: name and value of the partition column, which the files do not hold.
        where: predicates that select the rows.
    """
    import pyarrow as pa
    from pyspark.sql.pandas.types import from_arrow_schema

    kinds = {field.name: spark_type(field.type) for field in read.schema}
    kinds |= {name: pa.timestamp("us", tz="UTC") for name in read.instants}
    schema = pa.schema(list(kinds.items()))
    # Pickles the splits with the function; rows of a frame would need a shuffle to get one per task.
    payloads = [pickle.dumps(split) for split in splits]

    def read_splits(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for place in (place for batch in batches for place in batch.column(0).to_pylist()):
            with refusals_as_text():
                table = read(pickle.loads(payloads[place]))
            yield from in_types(table, schema).to_batches(max_chunksize=BATCH_ROWS)

    tasks = spark.range(0, len(splits), 1, len(splits))
    frame = tasks.mapInArrow(read_splits, from_arrow_schema(schema, prefer_timestamp_ntz=True))
    return as_validated(frame, partition, where)


def in_types(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of a schema in its types; times are rounded down to microseconds, as by Spark."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = []
    for field in schema:
        column = table.column(field.name)
        if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
            column = pc.floor_temporal(column, unit="microsecond")
        columns.append(column.cast(field.type))
    return pa.Table.from_arrays(columns, schema=schema)
