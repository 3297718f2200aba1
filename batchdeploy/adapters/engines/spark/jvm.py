"""Starts the JVM of a local session, and filters one useless warning from its stderr."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

from batchdeploy.redaction import names_secret

STDERR = 2
# Spark's launcher adds the module itself, and no JVM option suppresses the warning.
NOISE = b"WARNING: Using incubator modules"


def start_jvm(settings: Mapping[str, str]) -> None:
    """Starts the JVM for the next session, unless this process has one.

    Args:
        settings: the session's.
    """
    from pyspark import SparkConf, SparkContext
    from pyspark.java_gateway import launch_gateway

    if SparkContext._gateway is not None:
        return
    # NOTE: these settings become the JVM's command line, which every user of the machine can read. The
    # session, created next, gets all settings.
    public_settings = [(name, value) for name, value in settings.items() if not names_secret(name)]
    conf = SparkConf(loadDefaults=False).setAll(public_settings)
    reading, writing = os.pipe()
    try:
        gateway = launch_gateway(conf, {"stderr": writing})
    finally:
        os.close(writing)
        threading.Thread(target=copy_lines, args=(reading, STDERR), name="JVM's stderr", daemon=True).start()
    SparkContext._ensure_initialized(gateway=gateway)


def copy_lines(reading: int, writing: int) -> None:
    """Copies lines from one descriptor to another until the end, except for the warning in `NOISE`."""
    with open(reading, "rb") as lines:
        for line in lines:
            if not line.startswith(NOISE):
                os.write(writing, line)
