"""Runs Spark jobs, and translates their failures."""

from __future__ import annotations

import base64
import gc
import pickle
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from batchdeploy.errors import BatchdeployError, EngineError, Problem

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

WORKER_DIED = "Python worker exited unexpectedly"
# How a worker's error passes through the text of Spark's.
REFUSAL = re.compile(r"batchdeploy-refusal:([A-Za-z0-9+/=]+)")


@contextmanager
def refusals_as_text() -> Iterator[None]:
    """Raises errors of this package, in a worker, as an error whose text `job_failure` understands."""
    try:
        yield
    except BatchdeployError as refusal:
        pickled = base64.b64encode(pickle.dumps(refusal)).decode()
        raise RuntimeError(f"batchdeploy-refusal:{pickled}") from None


def run_in_thread(action: Callable[[], Any], session: SparkSession) -> Any:
    """Runs a Spark action in a separate thread.

    A signal then interrupts a waiting main thread instead of a call to the JVM, which could not be resumed.
    """
    from pyspark import InheritableThread

    ended: dict[str, Any] = {}

    def act() -> None:
        try:
            ended["answer"] = action()
        except Exception as error:  # noqa: BLE001
            ended["error"] = error

    thread = InheritableThread(target=act, session=session, daemon=True)
    thread.start()
    thread.join()
    if "error" in ended:
        raise ended["error"]
    return ended["answer"]


def spark_errors() -> tuple[type[Exception], ...]:
    """Exception classes of Spark, and of the JVM gateway if it is installed."""
    from pyspark.errors import PySparkException

    try:
        from py4j.protocol import Py4JError
    except ModuleNotFoundError:
        return (PySparkException,)
    return PySparkException, Py4JError


def job_failure(master: str, text: str) -> BatchdeployError:
    """The error to raise for a failed job: the one that a worker raised, or that of the engine."""
    if refusal := REFUSAL.search(text):
        found: BatchdeployError = pickle.loads(base64.b64decode(refusal.group(1)))
        return found
    if WORKER_DIED not in text:
        return EngineError("Spark", (Problem(master, _last_line(text)),))
    problem = Problem(master, "a worker's process died while it scored")
    return EngineError("Spark", (problem,), hint="the model crashed it, or it took more memory than there is")


def _last_line(text: str) -> str:
    """The last error line of Spark's message: a Python worker's exception, else the JVM's innermost cause."""
    stripped = (line.strip() for line in text.splitlines())
    lines = [line for line in stripped if line and not line.startswith(("at ", "File ", "... "))]
    for word in ("Error", "Exception"):
        if found := [line for line in lines if word in line]:
            return found[-1]
    return (lines or ["no message"])[-1]


@cache
def freeze_garbage() -> None:
    """Excludes the objects of libraries and model from garbage collection, once per worker.

    PySpark's workers collect garbage after each task, which took a quarter of a second with a model loaded.
    """
    gc.collect()
    gc.freeze()
