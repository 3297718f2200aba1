"""Tables of Spark's catalog as a source: partitions, and pins of the files that Spark names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from batchdeploy.adapters.engines.spark.jobs import job_failure, run_in_thread, spark_errors
from batchdeploy.adapters.engines.spark.partition_filter import may_belong
from batchdeploy.adapters.engines.spark.provenance import provenance
from batchdeploy.adapters.engines.spark.stored_files import (
    PATTERN,
    place,
    quoted,
    table_name,
    unescaped_place,
)
from batchdeploy.core.deployment import DataRef
from batchdeploy.core.partition_names import NULL
from batchdeploy.core.partitions import known_hint, partition_key, value_problems
from batchdeploy.core.pins import Column, DataPin, FilePin, PartitionKey, digest_files, pin_changes
from batchdeploy.core.policy import LimitsSpec
from batchdeploy.core.records import InputSchema
from batchdeploy.errors import DataError, PartitionError, Problem
from batchdeploy.kernel.partition_rows import can_partition, partition_texts, rows_of_partition

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession


class CatalogSource:
    """Reads tables and views that Spark's catalog knows.

    A partition is pinned by the path, size and modification time of each file that Spark reads for it.

    Args:
        session: gives the session.
        master: of the session, for messages.
    """

    def __init__(self, session: Callable[[], SparkSession], master: str) -> None:
        self._session = session
        self._master = master

    def partitions(self, ref: DataRef) -> tuple[str, ...]:
        """All values of the partition column, as its key format writes them, sorted.

        Raises:
            DataError: there is no such table, or it has no such column.
        """
        frame, key = self._table(ref), partition_key(ref.partition, "")
        values = self._run(frame.select(quoted(key.column)).distinct().toArrow).column(0)
        texts = partition_texts(values, key).to_pylist()
        return tuple(sorted({NULL if text is None else text for text in texts}))

    def partition_problems(self, ref: DataRef) -> tuple[Problem, ...]:
        """Problems of partitions by their values."""
        return tuple(value_problems(self.partitions(ref), ref.partition))

    def pin(self, ref: DataRef, partition: str) -> DataPin:
        """Pins the files that hold rows of a partition, with how many each holds.

        Raises:
            DataError: there is no such table, it has no such column, or Spark names no files of it.
            PartitionError: the table has no rows of the partition.
        """
        key = partition_key(ref.partition, partition)
        frame = may_belong(self._table(ref), key)
        rows = self._rows_by_file(frame, key)
        if not rows:
            hint = known_hint(self.partitions(ref))
            problem = Problem(key.column, "no such partition", partition)
            raise PartitionError(ref.path, (problem,), hint=hint)
        if "" in rows:
            rows = Counter(dict.fromkeys(frame.inputFiles(), 0) | {"": rows[""]})
        if set(rows) == {""}:
            problem = Problem("data.path", "Spark names no files of it, so that it cannot be pinned")
            raise DataError(ref.path, (problem,), hint="write its rows to a table that is made of files")
        files = tuple(self._file_pins(rows))
        return DataPin(
            path=ref.path,
            rev=None,
            tracked="catalog",
            digest=digest_files((file.path, file.fingerprint) for file in files),
            files=files,
        )

    def changes(self, ref: DataRef, partition: str, pin: DataPin) -> tuple[Problem, ...]:
        """What changed since the partition was pinned, by file."""
        return pin_changes(pin, lambda: self.pin(ref, partition))

    def inspect(self, pin: DataPin, limits: LimitsSpec) -> InputSchema:
        """The columns of a pinned table, and its rows by file.

        Raises:
            DataError: the partition exceeds the limits.
        """
        schema = self.schema(pin)
        rows = tuple(file.rows or 0 for file in pin.files)
        facts = (
            ("files", len(pin.files), limits.files),
            ("rows", sum(rows), limits.rows),
            ("cells", sum(rows) * len(schema), limits.cells),
        )
        if problems := tuple(
            Problem(pin.path, f"more {name} than limits.{name} = {most:,}", f"{fact:,}")
            for name, fact, most in facts
            if fact > most
        ):
            raise DataError(pin.path, problems)
        columns = tuple(
            Column(name=field.name, type=str(field.type), required=not field.nullable) for field in schema
        )
        return InputSchema(columns=columns, file_rows=rows)

    def schema(self, pin: DataPin) -> pa.Schema:
        """The columns of a pinned table, as Spark hands them over."""
        from pyspark.sql.pandas.types import to_arrow_schema

        found = self._run(lambda: self._session().table(table_name(pin.path)).schema)
        schema: pa.Schema = to_arrow_schema(found, timezone="UTC")
        return schema

    def _table(self, ref: DataRef) -> DataFrame:
        from pyspark.errors import AnalysisException
        from pyspark.sql.pandas.types import to_arrow_type

        try:
            # Spark keeps listings of a table's files.
            self._session().catalog.refreshTable(table_name(ref.path))
            frame = self._session().table(table_name(ref.path))
            kinds = {field.name: field.dataType for field in frame.schema.fields}
        except AnalysisException as error:
            what = "Spark's catalog has no such table, or cannot read it"
            problem = Problem("data.path", what, str(error).split("\n", 1)[0])
            raise DataError(ref.path, (problem,)) from None
        column = ref.partition.column
        if column not in kinds:
            problem = Problem("data.partition.column", "the table has no such column", column)
            raise DataError(ref.path, (problem,), hint=f"it has {', '.join(kinds)}")
        if not can_partition(to_arrow_type(kinds[column])):
            what = f"the column {column} is not exact text, number, date or time"
            kind = kinds[column].simpleString()
            raise DataError(ref.path, (Problem("data.partition.column", what, kind),))
        return frame

    def _rows_by_file(self, frame: DataFrame, key: PartitionKey) -> Counter[str]:
        """How many rows of the partition each file has, by its URI; an empty one where Spark tells none."""
        import pyarrow as pa
        from pyspark.sql import functions, types

        file, _ = provenance(frame)
        column = functions.col(quoted(key.column))
        kind = frame.schema[key.column].dataType
        if isinstance(kind, types.TimestampType | types.TimestampNTZType):
            # A key format has no fractions of a second. Spark gives the whole one a time zone.
            column = functions.date_trunc("second", column).cast(kind)
        grouped = frame.groupBy(file.alias("file"), column.alias("value")).count()
        counted = self._run(grouped.toArrow)
        mine = counted.filter(pa.array(rows_of_partition(counted.column("value"), key)))
        found: Counter[str] = Counter()
        for text, rows in zip(mine.column("file").to_pylist(), mine.column("count").to_pylist(), strict=True):
            found[text or ""] += rows
        return found

    def _file_pins(self, rows: Counter[str]) -> Iterator[FilePin]:
        """The files with their sizes and times, by a listing; none is read.

        Rows that have not one file each count for the first file.
        """
        from pyspark.sql import functions

        left = rows.pop("", 0)
        paths = [PATTERN.sub(r"\\\1", unquote(text)) for text in rows]
        listed = self._session().read.format("binaryFile").load(paths)
        millis = functions.unix_millis("modificationTime").alias("millis")
        by_place = {place(text): text for text in rows}
        for row in sorted(self._run(listed.select("path", millis, "length").collect)):
            text = by_place[unescaped_place(row.path)]
            yield FilePin(
                path=place(text),
                md5="",
                size=row.length,
                location=text,
                modified=_iso(row.millis),
                rows=rows[text] + left,
            )
            left = 0

    def _run(self, action: Callable[[], Any]) -> Any:
        try:
            return run_in_thread(action, self._session())
        except spark_errors() as error:
            raise job_failure(self._master, str(error)) from error


def _iso(millis: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=millis)).isoformat()
