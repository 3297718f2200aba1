"""What a Spark session is started with."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from batchdeploy.adapters.spark_engine.cluster import is_elsewhere

# NOTE: what Spark would otherwise let through in silence; see docs/architecture.md.
PINNED = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.files.ignoreCorruptFiles": "false",
    "spark.sql.files.ignoreMissingFiles": "false",
    "spark.sql.parquet.mergeSchema": "false",
    "spark.sql.runSQLOnFiles": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    "spark.hadoop.parquet.page.verify-checksum.enabled": "true",
    "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "1",
}
LOOPBACK = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
EMBEDDED = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "4",
}


def embedded(master: str) -> dict[str, str]:
    """What a session gets unless the deployment says otherwise; a cluster has to find the way back to it."""
    return EMBEDDED if is_elsewhere(master) else LOOPBACK | EMBEDDED


def set_environment(master: str, conf: Mapping[str, str]) -> None:
    """What only the environment can tell the JVM that PySpark is about to start."""
    # NOTE: without it a worker takes whatever "python3" is first on its PATH.
    os.environ.setdefault("PYSPARK_PYTHON", conf.get("spark.pyspark.python", sys.executable))
    if not is_elsewhere(master):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    logging = Path(__file__).with_name("spark_log4j2.properties")
    os.environ.setdefault("SPARK_SUBMIT_OPTS", f"-Dlog4j2.configurationFile={logging.as_uri()}")


def as_spark_writes(value: str | bool | float) -> str:
    """A setting as Spark writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
