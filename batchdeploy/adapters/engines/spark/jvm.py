"""The JVM that a session on this machine starts, without the one line that says nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

from batchdeploy.redaction import names_secret

STDERR = 2
# The launcher of Spark asks for this module itself, and no option keeps the JVM from telling so.
NOISE = b"WARNING: Using incubator modules"


def start_jvm(settings: Mapping[str, str]) -> None:
    """Starts the JVM of the session that is made next, where this process has none yet.

    Args:
        settings: the session's.
    """
    from pyspark import SparkConf, SparkContext
    from pyspark.java_gateway import launch_gateway

    if SparkContext._gateway is not None:
        return
    # NOTE: they become its command line, which every user of the machine may read. The session, made next,
    # is told all of them.
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
    """Passes lines on until nobody writes any more, all but the one that says nothing."""
    with open(reading, "rb") as lines:
        for line in lines:
            if not line.startswith(NOISE):
                os.write(writing, line)
