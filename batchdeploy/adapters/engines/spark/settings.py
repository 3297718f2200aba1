"""Settings and environment variables for a Spark session."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from batchdeploy.adapters.engines.spark.worker_files import is_remote

# Without these, Spark silently accepts bad input; see docs/architecture.md.
PINNED = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.files.ignoreCorruptFiles": "false",
    "spark.sql.files.ignoreMissingFiles": "false",
    # NOTE: Spark cannot read nanosecond timestamps; `frames` converts the integers that this gives.
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    "spark.sql.parquet.mergeSchema": "false",
    "spark.sql.runSQLOnFiles": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    "spark.hadoop.parquet.page.verify-checksum.enabled": "true",
    "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "1",
}
LOOPBACK = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
LOGGING = "log4j2.configurationFile"
EMBEDDED = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "4",
}


def embedded(master: str) -> dict[str, str]:
    """Default settings; a remote cluster gets no loopback address, because it must reach the driver."""
    return EMBEDDED if is_remote(master) else LOOPBACK | EMBEDDED


@contextmanager
def environment(master: str, conf: Mapping[str, str]) -> Iterator[None]:
    """Sets the environment variables that a session reads at its start, and restores them at the end.

    A running session keeps what it has read. Left in place, the variables would affect the next session.
    """
    # Without PYSPARK_PYTHON a worker runs the first "python3" on its PATH.
    ours = {"PYSPARK_PYTHON": sys.executable}
    if not is_remote(master):
        ours["SPARK_LOCAL_IP"] = "127.0.0.1"
    wanted = {name: os.environ.get(name, value) for name, value in ours.items()}
    if "spark.pyspark.python" in conf:
        wanted["PYSPARK_PYTHON"] = conf["spark.pyspark.python"]
    options = os.environ.get("SPARK_SUBMIT_OPTS", "")
    if LOGGING not in options:
        file = Path(__file__).with_name("spark_log4j2.properties")
        wanted["SPARK_SUBMIT_OPTS"] = f"{options} -D{LOGGING}={file.as_uri()}".strip()
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def format_setting(value: str | bool | float) -> str:
    """A setting as Spark writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
