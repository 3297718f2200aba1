"""Scores partitions whose rows Spark reads itself (``engine.read: spark``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from batchdeploy.core.lookup_places import LookupPlaces
from batchdeploy.core.path_hints import is_remote
from batchdeploy.core.pins import DataPin, FilePin
from batchdeploy.core.scoring_spec import ScoringSpec
from batchdeploy.core.work import ScoreJob, Split, SplitResult
from batchdeploy.errors import BatchdeployError
from batchdeploy.kernel.batch_loop import retry_smaller
from batchdeploy.kernel.keys import RepeatedKeys, repeated_hashes

if TYPE_CHECKING:
    from batchdeploy.adapters.engines.spark import SparkEngine
    from batchdeploy.adapters.engines.spark.row_jobs import HandedRows
    from batchdeploy.adapters.parquet_splits import EngineRows

SAMPLED_FRAMES = 32
MakeLoader = Callable[[ScoreJob], Callable[[str], Callable[[Any], Any]]]


class SparkReadScorer:
    """A `PartitionScorer` on Spark.

    Args:
        spark: returns the Spark engine.
        loader: makes the function that loads a job's model on a worker.
    """

    def __init__(self, spark: Callable[[], SparkEngine], loader: MakeLoader) -> None:
        self._spark = spark
        self._loader = loader

    def score(self, job: ScoreJob, pin: DataPin, splits: Sequence[Split]) -> Sequence[SplitResult]:
        """The results of all of Spark's tasks; where keys repeat, of a second try with these rows flagged.

        Raises:
            DataError: a file changed since it was pinned, or cannot be read.
        """
        from batchdeploy.adapters.parquet_splits import read_hashes

        with _unchanged(pin):
            opened = self._open(pin, splits, job)
            results = self._score(opened, job)
            hashes = repeated_hashes(read_hashes(job.folders, [result.keys for result in results]))
            if len(hashes) and (repeated := self._repeated(opened, job.spec, hashes)).keys:
                results = self._score(opened, job, repeated)
        return results

    def sample_table(self, path: str, splits: Sequence[Split], job: ScoreJob) -> Iterator[Any]:
        """Yields frames of the model's inputs, of rows of a table of the catalog."""
        from batchdeploy.adapters.parquet_splits import RowSampling

        files = tuple(FilePin(path=s.path, md5=s.md5, size=s.size, location=s.location) for s in splits)
        pin = DataPin(
            path=path, rev=None, tracked="catalog", digest="", files=files, partition=splits[0].partition
        )
        opened, spec = self._open(replace(pin, lookups=splits[0].lookups), splits, job), job.spec
        rows = opened.rows(spec)
        handed, work = opened.handed.select(rows.schema.names), RowSampling(rows=rows, spec=spec)
        frames = self._spark().rows.map(handed, work, batch_rows=spec.batch_rows)
        yield from [frame for frame in frames if frame is not None][:SAMPLED_FRAMES]

    def _open(self, pin: DataPin, splits: Sequence[Split], job: ScoreJob) -> _Opened:
        from batchdeploy.adapters.parquet_splits import nanosecond_columns, pinned_schema

        number, spark = sum(split.rows for split in splits), self._spark()
        if pin.tracked == "catalog":
            handed = spark.rows.table(pin, number)
            schema = spark.catalog.schema(pin)
        else:
            schema = pinned_schema(splits[0])
            handed = spark.rows.files(pin, number, nanosecond_columns(schema))
        by_location = {split.location: split for split in reversed(splits)}
        by_location[""] = replace(splits[0], path=pin.path)
        files = {number: by_location[location] for number, location in handed.numbers.items()}
        return _Opened(handed, schema, files, LookupPlaces(spark.locate, job.lookups_sent))

    def _score(
        self, opened: _Opened, job: ScoreJob, repeated: RepeatedKeys | None = None
    ) -> list[SplitResult]:
        from batchdeploy.adapters.parquet_splits import RowScoring

        rows, load = opened.rows(job.spec), self._loader(job)
        handed = opened.handed.select(rows.schema.names)

        def attempt(batch_rows: int) -> list[SplitResult]:
            smaller = replace(job, spec=replace(job.spec, batch_rows=batch_rows))
            work = RowScoring(rows=rows, job=smaller, load=load, repeated=repeated)
            found = self._spark().rows.map(handed, work, batch_rows=batch_rows)
            return [result for result in found if result is not None]

        return retry_smaller(attempt, job.spec.batch_rows)

    def _repeated(self, opened: _Opened, spec: ScoringSpec, hashes: Any) -> RepeatedKeys:
        """The keys that occur more than once, of those with these hashes; Spark reads the keys once more."""
        from batchdeploy.adapters.parquet_splits import KeyCounting

        rows = opened.rows(spec, spec.keys)
        work = KeyCounting(rows=rows, spec=spec, hashes=hashes)
        handed = opened.handed.select(rows.schema.names)
        counted = self._spark().rows.map(handed, work, batch_rows=spec.batch_rows)
        times: Counter[tuple[Any, ...]] = sum(counted, Counter())
        # Rows with a null key are no duplicates; the policy has a rule of its own for them.
        keys = frozenset(key for key, number in times.items() if number > 1 and None not in key)
        return RepeatedKeys(hashes, keys)


class _Opened(NamedTuple):
    """A partition that Spark is about to read.

    Attributes:
        handed: its rows, with all columns.
        schema: the columns, as Arrow's schema, in the types of the pinned files.
        files: one split for each file, by the number that Spark gives it.
        places: where workers have the files of lookups.
    """

    handed: HandedRows
    schema: Any
    files: dict[int, Split]
    places: LookupPlaces

    def rows(self, spec: ScoringSpec, columns: Sequence[str] | None = None) -> EngineRows:
        """What prepares the rows for the kernel; all columns that the spec needs, or these."""
        from batchdeploy.adapters.parquet_splits import engine_rows

        rows = engine_rows(self.handed.pin, self.files, self.schema, spec, columns)
        return replace(rows, places=self.places)


@contextmanager
def _unchanged(pin: DataPin) -> Iterator[None]:
    """Checks that local files are the pinned ones before, while and after Spark opens them by name.

    Objects, and the files of tables, are compared with their pins after the last task, by their source.

    Raises:
        DataError: a file was replaced, written to, or renamed for a while.
    """
    from batchdeploy.adapters.parquet_splits import open_pinned, watch_pinned_files

    if pin.tracked == "catalog" or any(is_remote(file.location) for file in pin.files):
        yield
        return
    with watch_pinned_files(pin.files):
        try:
            yield
        except BatchdeployError:
            # A file that changed is why Spark could not read it.
            for file in pin.files:
                with open_pinned(file):
                    pass
            raise
