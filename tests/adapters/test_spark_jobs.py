"""What a failed job's message says: the cause, whichever of Python and the JVM it comes from."""

from __future__ import annotations

import pytest

from batchdeploy.adapters.engines.spark.jobs import job_failure
from batchdeploy.errors import EngineError

PYTHON = """An exception was thrown from the Python worker. Please see the stack trace below.
Traceback (most recent call last):
  File "/home/me/scoring.py", line 3, in score
    raise ValueError("not a number")
ValueError: not a number
"""
JVM = """An error occurred while calling o99.count.
: org.apache.spark.SparkException: Job aborted due to stage failure: ResultStage 3 failed 4 times
\tat org.apache.spark.errors.SparkCoreErrors$.fetchFailedError(SparkCoreErrors.scala:398)
Caused by: java.nio.file.NoSuchFileException: /tmp/spark/shuffle_0_14_0.index
\tat java.base/sun.nio.fs.UnixException.translateToIOException(UnixException.java:92)
\t... 8 more
\tat java.base/java.lang.Thread.run(Thread.java:840)
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PYTHON, "ValueError: not a number"),
        (JVM, "Caused by: java.nio.file.NoSuchFileException: /tmp/spark/shuffle_0_14_0.index"),
        ("Connection reset", "Connection reset"),
        ("", "no message"),
    ],
)
def test_the_cause_is_said(text: str, said: str) -> None:
    found = job_failure("spark://master:7077", text)
    assert isinstance(found, EngineError)
    assert found.problems[0].problem == said
