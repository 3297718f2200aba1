"""What a Spark session is started with."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from batchdeploy.adapters.engines.spark.worker_files import is_remote

# What Spark would otherwise let through in silence; see docs/architecture.md.
PINNED = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.files.ignoreCorruptFiles": "false",
    "spark.sql.files.ignoreMissingFiles": "false",
    # NOTE: Spark reads no timestamps in nanoseconds; as numbers, it leaves it to the reader what they are.
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
    """What a session gets unless the deployment says otherwise; a cluster has to find the way back to it."""
    return EMBEDDED if is_remote(master) else LOOPBACK | EMBEDDED


@contextmanager
def environment(master: str, conf: Mapping[str, str]) -> Iterator[None]:
    """What only the environment can tell a session that starts, for just as long as it starts.

    A session keeps what it read: left behind, it would be what the next one of this process starts with.
    """
    # Without the first a worker takes whatever "python3" is first on its PATH.
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
