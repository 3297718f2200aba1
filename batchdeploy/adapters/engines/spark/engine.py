"""The Spark engine: schedules, distributes and retries splits; validators read rows as a DataFrame."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from batchdeploy.adapters.engines.spark.catalog import CatalogSource
from batchdeploy.adapters.engines.spark.frames import Join, read_rows
from batchdeploy.adapters.engines.spark.gpu import on_gpu, with_gpu
from batchdeploy.adapters.engines.spark.jobs import freeze_garbage, job_failure, run_in_thread, spark_errors
from batchdeploy.adapters.engines.spark.jvm import start_jvm
from batchdeploy.adapters.engines.spark.row_jobs import SparkRows
from batchdeploy.adapters.engines.spark.settings import PINNED, embedded, environment, format_setting
from batchdeploy.adapters.engines.spark.split_frames import SplitReader, read_split_rows
from batchdeploy.adapters.engines.spark.worker_files import (
    DistributedFiles,
    is_remote,
    locate_distributed,
    worker_reports,
)
from batchdeploy.core.casts import Casts
from batchdeploy.core.predicates import Predicate
from batchdeploy.core.records import DataPin
from batchdeploy.core.work import Split, WorkerCheck, WorkerReport
from batchdeploy.errors import BatchdeployError, EngineError, Problem
from batchdeploy.host.versions import versions_here

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import SparkSession

Result = TypeVar("Result")
CONNECT_SECONDS = 10.0
STOP_SECONDS = 5.0


class SparkEngine:
    """An engine over one Spark session, which starts at the first use.

    Args:
        master: Spark's master URL, or that of a Spark Connect server, ``sc://host:port``.
        conf: settings that override the defaults; those in ``PINNED`` cannot be overridden.
        gpu: ``none``, ``rapids`` or ``auto``.

    Raises:
        EngineError: ``gpu`` is ``rapids``, and a GPU or RAPIDS is missing.
    """

    name = "spark"

    def __init__(
        self, master: str, conf: Mapping[str, str | bool | float] | None = None, gpu: str = "none"
    ) -> None:
        self._master = master
        self._conf = with_gpu(
            gpu, master, {key: format_setting(value) for key, value in (conf or {}).items()}
        )
        self.device = "cuda" if on_gpu(self._conf) else "cpu"
        self._remote = master.startswith("sc://")
        self._session: SparkSession | None = None
        self._started_here = False
        self._distributed: DistributedFiles | None = None
        self._reports: dict[tuple[tuple[str, ...], str], tuple[WorkerReport, ...]] = {}

    @property
    def remote(self) -> bool:
        """Whether the workers run on a cluster."""
        return is_remote(self._master)

    @property
    def locate(self) -> Callable[[str], str]:
        """Gives where a worker has what `distribute` sent to it."""
        return locate_distributed if is_remote(self._master) else str

    @property
    def session(self) -> SparkSession:
        """The session, started at the first use."""
        return self._spark()

    @property
    def rows(self) -> SparkRows:
        """Reads rows by Spark itself, to hand them over to tasks."""
        return SparkRows(self._spark, self._master, self._conf)

    @property
    def catalog(self) -> CatalogSource:
        """The tables of Spark's catalog."""
        return CatalogSource(self._spark, self._master)

    def frame(
        self,
        pin: DataPin,
        partition: tuple[str, str],
        where: Sequence[Predicate] = (),
        *,
        nanoseconds: Collection[str] = (),
        casts: Casts | None = None,
        join: Join | None = None,
    ) -> Any:
        """The partition as a Spark DataFrame over exactly the pinned files; see `frames.read_rows`."""
        spark, casts = self._spark(), casts or {}
        return read_rows(spark, pin, partition, where, nanoseconds=nanoseconds, casts=casts, join=join)

    def worker_threads(self, splits: Sequence[Split]) -> int | None:  # noqa: ARG002
        """One: Spark runs a task on each core."""
        return 1

    @contextmanager
    def split_frame(
        self,
        splits: Sequence[Split],
        read: SplitReader,
        partition: tuple[str, str],
        where: Sequence[Predicate] = (),
    ) -> Iterator[Any]:
        """Yields the rows of splits as a Spark DataFrame that the workers have read and Spark keeps.

        Raises:
            EngineError: Spark gave up on a task.
            BatchdeployError: the error that the reader raised in a worker.
        """
        spark = self._spark()
        # Kept in memory or on the workers' disks, or each expectation would read the store again.
        frame = read_split_rows(spark, splits, read, partition, where).persist()
        try:
            try:
                run_in_thread(frame.count, spark)
            except spark_errors() as error:
                raise job_failure(self._master, str(error)) from error
            yield frame
        finally:
            with suppress(*spark_errors()):
                frame.unpersist()

    def map_splits(self, work: Callable[[Split], Result], splits: Sequence[Split]) -> Iterator[Result]:
        """Runs a vectorised UDF over a frame of splits, one split a task.

        Raises:
            EngineError: Spark gave up on a task.
            BatchdeployError: the error that the work raised.
        """
        if not splits:
            return

        spark = self._spark()
        try:
            # Pickles the splits with the function; rows of a frame would need a shuffle to get one per task.
            frame = spark.range(0, len(splits), 1, len(splits)).mapInPandas(
                _udf(work, splits), "answer binary"
            )
            answers = run_in_thread(frame.collect, spark)
        except spark_errors() as error:
            raise job_failure(self._master, str(error)) from error
        for answer in answers:
            result = pickle.loads(answer.answer)
            if isinstance(result, BatchdeployError):
                raise result
            yield result

    def distribute(self, folder: Path) -> str:
        """Sends a folder to remote workers through the session; returns its name for `locate`."""
        self._spark()
        return str(folder) if self._distributed is None else self._distributed.add_folder(folder)

    def inspect(self, names: Sequence[str], check: WorkerCheck | None = None) -> tuple[WorkerReport, ...]:
        """Reports of each worker host; without problems, they hold for the session.

        Args:
            names: packages, and ``python``, whose versions are reported.
            check: what workers of a cluster try.

        Raises:
            EngineError: no worker could answer.
        """
        if not self.remote:
            return (WorkerReport("this Python", versions_here(names)),)

        key, spark = (tuple(names), "" if check is None else check.place), self._spark()
        if key in self._reports:
            return self._reports[key]
        try:
            reports = run_in_thread(lambda: worker_reports(spark, names, check), spark)
        except spark_errors() as error:
            raise job_failure(self._master, str(error)) from error
        if not any(report.problems for report in reports):
            self._reports[key] = reports
        return tuple(reports)

    def close(self) -> None:
        """Stops the session if this engine started it, even if its tasks are still running."""
        if self._session is not None and self._started_here:
            stopping = threading.Thread(target=_stop, args=(self._session,), daemon=True)
            stopping.start()
            stopping.join(STOP_SECONDS)
            if stopping.is_alive():
                _end_jvm()
        if self._distributed is not None:
            self._distributed.close()
        if self._session is not None and self._started_here and self._remote:
            # NOTE: PySpark leaves this set, and then cannot start another kind of session in this process.
            os.environ.pop("SPARK_CONNECT_MODE_ENABLED", None)
        self._session = self._distributed = None

    def _spark(self) -> SparkSession:
        if self._session is not None:
            return self._session
        from pyspark.errors import PySparkException

        try:
            self._session = self._connected() if self._remote else self._embedded()
        except (PySparkException, OSError, RuntimeError) as error:
            raise EngineError(
                "Spark", (Problem(self._master, "did not start", str(error)),), hint="batchdeploy doctor"
            ) from error
        if is_remote(self._master):
            self._distributed = DistributedFiles(self._session)
            self._distributed.add_library()
        return self._session

    def _embedded(self) -> SparkSession:
        from pyspark.sql import SparkSession

        self._started_here = SparkSession.getActiveSession() is None
        settings = {**embedded(self._master), **self._conf, **PINNED}
        settings |= {"spark.app.name": "batchdeploy", "spark.master": self._master}
        before = signal.getsignal(signal.SIGINT)
        with environment(self._master, self._conf):
            start_jvm(settings)
            session = SparkSession.builder.config(map=settings).getOrCreate()
        if self._started_here and threading.current_thread() is threading.main_thread():
            # NOTE: PySpark's own SIGINT handler calls the JVM in the middle of another call.
            signal.signal(signal.SIGINT, before)
        return session

    def _connected(self) -> SparkSession:
        """A new session on a Connect server, with those settings that a session can change."""
        from pyspark.sql import SparkSession

        # Fails fast: the Connect client itself retries for ten minutes.
        address = urlsplit(self._master.partition("/;")[0])
        socket.create_connection((address.hostname, address.port or 15002), CONNECT_SECONDS).close()
        session = SparkSession.builder.remote(self._master).create()
        for key, value in {**self._conf, **PINNED}.items():
            if key.startswith("spark.sql.") and session.conf.isModifiable(key):
                session.conf.set(key, value)
        self._started_here = True
        return session


def _stop(session: SparkSession) -> None:
    """Stops a session and silences the errors of the tasks that this cancels."""
    with suppress(Exception):
        session.sparkContext.setLogLevel("OFF")
    session.stop()


def _end_jvm() -> None:
    """Ends the JVM that PySpark started for this process; its Python workers go with it."""
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    process = getattr(gateway, "proc", None)
    if process is not None and process.poll() is None:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _udf(
    work: Callable[[Split], Any], splits: Sequence[Split]
) -> Callable[[Iterator[pd.DataFrame]], Iterator[pd.DataFrame]]:
    payloads = [pickle.dumps(split) for split in splits]

    def over_splits(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        import pandas as pd

        for frame in frames:
            answers = []
            for place in frame["id"]:
                try:
                    answer: object = work(pickle.loads(payloads[place]))
                except BatchdeployError as refusal:
                    # NOTE: return the refusal; if it were raised here, Spark would retry the same rows.
                    answer = refusal
                answers.append(pickle.dumps(answer))
            freeze_garbage()
            yield pd.DataFrame({"answer": answers})

    return over_splits
