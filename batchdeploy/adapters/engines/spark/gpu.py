"""The settings for RAPIDS, or the list of what it is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from batchdeploy.adapters.engines.spark.worker_files import is_remote
from batchdeploy.errors import EngineError, Problem
from batchdeploy.redaction import logger

LOG = logger(__name__)
JAR, PACKAGE = "rapids-4-spark_*.jar", "com.nvidia:rapids-4-spark_"
PLUGIN = "com.nvidia.spark.SQLPlugin"
PLUGINS, PYTHONPATH = "spark.plugins", "spark.executorEnv.PYTHONPATH"
PYTHON_ON_GPU = "spark.rapids.sql.python.gpu.enabled"
NVIDIA_SMI_SECONDS = 20
# From NVIDIA's guides, "RAPIDS Accelerator for Apache Spark: Getting Started" and "GPU Support for Pandas
# UDF": Python workers take turns on the GPU, and its memory is divided between them and the JVM.
RAPIDS = {
    "spark.rapids.sql.enabled": "true",
    PYTHON_ON_GPU: "true",
    "spark.rapids.python.concurrentPythonWorkers": "1",
    "spark.rapids.memory.gpu.allocFraction": "0.5",
    "spark.rapids.python.memory.gpu.allocFraction": "0.4",
    "spark.python.daemon.module": "rapids.daemon",
}
# A small share, so that cores instead of GPUs limit how many tasks an executor runs at once.
GPU_SCHEDULING = {"spark.executor.resource.gpu.amount": "1", "spark.task.resource.gpu.amount": "0.001"}


def with_gpu(gpu: str, master: str, conf: Mapping[str, str]) -> dict[str, str]:
    """The settings with those that ``engine.gpu`` adds; explicit settings take precedence.

    Args:
        gpu: ``none``, ``rapids``, or ``auto`` for rapids if everything it needs is installed.
        master: Spark's master URL.
        conf: the settings so far.

    Raises:
        EngineError: ``gpu`` is ``rapids``, and something is missing; the message lists everything.
    """
    if gpu == "none":
        return dict(conf)
    jar = next(_jars(conf), None)
    problems = tuple(_missing(master, conf, jar))
    if problems and gpu == "rapids":
        hint = "engine.gpu: auto goes on without a GPU where there is none"
        raise EngineError("engine.gpu: rapids", problems, hint=hint)
    if problems:
        reasons = "; ".join(str(problem) for problem in problems)
        LOG.warning("engine.gpu: auto goes on without a GPU: %s", reasons)
        return dict(conf)
    settings = {**RAPIDS, **(GPU_SCHEDULING if is_remote(master) else {}), **conf}
    others = [name for name in conf.get(PLUGINS, "").split(",") if name and name != PLUGIN]
    settings[PLUGINS] = ",".join([PLUGIN, *others])
    if jar is not None:
        # The daemon that gives Python workers their GPU is a Python package inside the jar.
        settings[PYTHONPATH] = os.pathsep.join(filter(None, [str(jar), conf.get(PYTHONPATH)]))
    return settings


def on_gpu(conf: Mapping[str, str]) -> bool:
    """Whether these settings give Python workers a GPU."""
    return PLUGIN in conf.get(PLUGINS, "").split(",") and conf.get(PYTHON_ON_GPU) == "true"


def _missing(master: str, conf: Mapping[str, str], jar: Path | None) -> Iterator[Problem]:
    if master.startswith("sc://"):
        yield Problem("engine.remote", f"a Connect server has to be started with {PLUGIN} itself")
        return
    if jar is None and PACKAGE not in conf.get("spark.jars.packages", ""):
        places = "spark.jars, spark.jars.packages, spark.driver.extraClassPath or Spark's own jars"
        yield Problem("jar", f"no {JAR} in {places}")
    if not is_remote(master):
        yield from _no_gpu()


def _jars(conf: Mapping[str, str]) -> Iterator[Path]:
    """Yields RAPIDS jars from all places where Spark looks for jars."""
    from pyspark.find_spark_home import _find_spark_home

    listed = conf.get("spark.jars", "").split(",") + conf.get("spark.driver.extraClassPath", "").split(":")
    for entry in filter(None, listed):
        place = Path(entry.removeprefix("file://"))
        if place.match(JAR) and place.is_file():
            yield place
        elif place.name == "*":
            yield from place.parent.glob(JAR)
    yield from Path(_find_spark_home(), "jars").glob(JAR)


def _no_gpu() -> Iterator[Problem]:
    command = shutil.which("nvidia-smi")
    if command is None:
        yield Problem("GPU", "nvidia-smi is not on PATH: no NVIDIA driver is installed here")
        return
    command_line = [command, "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            command_line, capture_output=True, text=True, check=False, timeout=NVIDIA_SMI_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Problem("GPU", "nvidia-smi does not answer", str(error))
        return
    if done.returncode or not done.stdout.strip():
        lines = (done.stdout + done.stderr).strip().splitlines()
        yield Problem("GPU", "nvidia-smi names none", lines[-1] if lines else "no message")
