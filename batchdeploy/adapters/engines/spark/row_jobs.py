"""Reads rows by Spark itself, and hands them over to Python functions, one call for each of Spark's tasks."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from batchdeploy.adapters.engines.spark.jobs import freeze_garbage, job_failure, run_in_thread, spark_errors
from batchdeploy.adapters.engines.spark.partition_filter import may_belong
from batchdeploy.adapters.engines.spark.provenance import provenance
from batchdeploy.adapters.engines.spark.read_failures import read_failure
from batchdeploy.adapters.engines.spark.stored_files import (
    pinned_place,
    place,
    quoted,
    read_options,
    spark_path,
    table_name,
)
from batchdeploy.core.pins import DataPin
from batchdeploy.errors import BatchdeployError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

FILE, POSITION = "_batchdeploy_file", "_batchdeploy_position"
BATCH_SETTING = "spark.sql.execution.arrow.maxRecordsPerBatch"
TASK_SETTING = "spark.sql.files.maxPartitionBytes"
# About as many rows a task as a split has; Spark's own default bounds the bytes.
TASK_ROWS, LEAST_BYTES, MOST_BYTES = 500_000, 1 << 20, 128 << 20


class RowWork(Protocol):
    """A picklable function over the rows of one task."""

    def __call__(self, index: int, batches: Iterator[pa.RecordBatch]) -> Any:
        """A task's answer, picklable; MemoryError and BatchdeployError are raised again in the driver."""
        ...


class HandedRows(NamedTuple):
    """Rows that Spark reads.

    Attributes:
        pin: the files.
        rows: how many rows the partition has.
        frame: the columns, at last the number of each row's file and its position there, which is -1 where
            Spark does not tell it.
        numbers: by the number of a file, its location in the pin; an empty one of rows without one.
    """

    pin: DataPin
    rows: int
    frame: DataFrame
    numbers: Mapping[int, str]

    def select(self, names: Sequence[str]) -> HandedRows:
        """The same rows with these columns only, which get other names.

        PySpark parses the names of the columns that it hands over, and fails with some.
        """
        from pyspark.sql import functions

        columns = [functions.col(quoted(name)).alias(f"c{n}") for n, name in enumerate(names)]
        return self._replace(frame=self.frame.select(*columns, FILE, POSITION))


class SparkRows:
    """Reads pinned files, or tables of the catalog, as rows to hand over.

    Args:
        session: gives the session.
        master: of the session, for messages.
        conf: the deployment's own settings, which are left alone.
    """

    def __init__(self, session: Callable[[], SparkSession], master: str, conf: Mapping[str, str]) -> None:
        self._session = session
        self._master = master
        self._conf = conf

    def files(self, pin: DataPin, rows: int, nanoseconds: Collection[str] = ()) -> HandedRows:
        """The rows of pinned Parquet files, all columns.

        Args:
            pin: the files.
            rows: how many rows the partition has.
            nanoseconds: the columns that hold timestamps in nanoseconds; Spark has them as integers.

        Raises:
            RequestError: Spark has no filesystem for a file's store.
            EngineError: the files cannot be opened.
        """
        spark, paths = self._session(), [spark_path(file.location) for file in pin.files]
        reader = spark.read.options(**read_options(pin))
        with self._failures(pin):
            frame = run_in_thread(lambda: reader.parquet(*paths), spark)
            key, selects = pin.partition, all(file.row_groups is not None for file in pin.files)
            if selects and key is not None and key.column not in nanoseconds:
                frame = may_belong(frame, key)
            by_place = {pinned_place(file.location): file.location for file in pin.files}
            found = {text: by_place[place(text)] for text in frame.inputFiles()}
            return self._handed(pin, rows, frame, found)

    def table(self, pin: DataPin, rows: int) -> HandedRows:
        """The rows of a table of the catalog that may belong to the pinned partition, all columns.

        Raises:
            EngineError: the table cannot be read.
        """
        with self._failures(pin):
            frame = self._session().read.options(**read_options(pin)).table(table_name(pin.path))
            frame = frame if pin.partition is None else may_belong(frame, pin.partition)
            locations = {file.location: file.location for file in pin.files}
            # Of rows that have not one file each.
            return self._handed(pin, rows, frame, locations | {"": ""})

    def map(self, rows: HandedRows, work: RowWork, *, batch_rows: int) -> list[Any]:
        """The answers of all tasks, in no order.

        Args:
            rows: what to hand over.
            work: called once for each task.
            batch_rows: the most rows of a batch.

        Raises:
            MemoryError, BatchdeployError: as the work raised them.
            DataError: a file cannot be read.
            EngineError: Spark gave up on a task.
        """
        spark, wanted = self._session(), {BATCH_SETTING: str(batch_rows)}
        if TASK_SETTING not in self._conf:
            wanted[TASK_SETTING] = str(_task_bytes(rows))
        with _settings(spark, wanted), self._failures(rows.pin):
            frame = rows.frame.mapInArrow(_task(work), "answer binary")
            answers: list[Any] = [pickle.loads(row.answer) for row in run_in_thread(frame.collect, spark)]
        for answer in answers:
            if isinstance(answer, BatchdeployError | MemoryError):
                raise answer
        return answers

    @contextmanager
    def _failures(self, pin: DataPin) -> Iterator[None]:
        try:
            yield
        except spark_errors() as error:
            raise read_failure(pin, str(error)) or job_failure(self._master, str(error)) from error

    def _handed(self, pin: DataPin, rows: int, frame: DataFrame, locations: Mapping[str, str]) -> HandedRows:
        """Rows with their provenance.

        Args:
            pin: the files.
            rows: how many rows the partition has.
            frame: the rows.
            locations: the location of each file in the pin, by the URI that Spark writes for it.
        """
        from pyspark.sql import functions

        file, position = provenance(frame)
        # NOTE: the number is a hash; the path itself would be sent with each row.
        number = functions.xxhash64(file).alias(FILE)
        # Spark writes the same file in two ways.
        locations = {**locations, **{t.replace("file:///", "file:/"): at for t, at in locations.items()}}
        names = self._session().createDataFrame([(text,) for text in locations], "name string")
        listed = names.select("name", functions.xxhash64("name").alias("number"))
        found = run_in_thread(listed.collect, self._session())
        numbers = {row.number: locations[row.name] for row in found}
        return HandedRows(pin, rows, frame.select("*", number, position.alias(POSITION)), numbers)


def _task_bytes(rows: HandedRows) -> int:
    """The bytes of files that one task reads."""
    size = sum(file.size for file in rows.pin.files)
    return max(LEAST_BYTES, min(MOST_BYTES, size * TASK_ROWS // max(1, rows.rows)))


@contextmanager
def _settings(spark: SparkSession, wanted: Mapping[str, str]) -> Iterator[None]:
    """Sets settings of a session for a while."""
    before = {name: spark.conf.get(name) for name in wanted}
    try:
        for name, value in wanted.items():
            spark.conf.set(name, value)
        yield
    finally:
        for name, earlier in before.items():
            spark.conf.set(name, str(earlier))


def _task(work: RowWork) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa
        from pyspark import TaskContext

        context = TaskContext.get()
        try:
            answer = work(0 if context is None else context.partitionId(), batches)
        except (MemoryError, pa.lib.ArrowCapacityError) as error:
            answer = MemoryError(str(error))
        except BatchdeployError as refusal:
            # NOTE: return the refusal; if it were raised here, Spark would retry the same rows.
            answer = refusal
        freeze_garbage()
        yield pa.RecordBatch.from_pydict({"answer": [pickle.dumps(answer)]})

    return run
