"""Spark as a standalone cluster and as a Connect server, from the pip package, on 127.0.0.1.

The workers of neither have batchdeploy installed. Either runs on this machine, or on machines that share no
folder with this process (`namespaces`).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from faults.spark_kills import cluster
from namespaces import Machine, machine

from batchdeploy.adapters.engines.spark import SparkEngine


@contextmanager
def engine_on(kind: str, folder: Path) -> Iterator[SparkEngine]:
    """A session on this machine, or on a master and two workers, or on a Connect server, started for it."""
    with ExitStack() as started:
        if kind == "local":
            master, conf = "local[2]", dict[str, str]()
        else:
            python = bare_python(folder / "bare")
            # The cluster must be told the workers' Python; the server was started with it.
            conf = {
                "spark.pyspark.python": str(python),
                "spark.driver.host": "127.0.0.1",
                "spark.executor.memory": "1g",
            }
            place = cluster(folder / "cluster") if kind == "standalone" else connect_server(folder, python)
            master = started.enter_context(place)
        before = os.environ.get("PYSPARK_PYTHON")
        engine = SparkEngine(master, conf)
        yield engine
        engine.close()
        assert os.environ.get("PYSPARK_PYTHON") == before


class SeparateSpark(NamedTuple):
    """A Spark on machines that share no folder with this process.

    Attributes:
        url: of the master or of the Connect server.
        machines: where its processes run.
        engine: the ``engine`` section of a deployment.
    """

    url: str
    machines: tuple[Machine, ...]
    engine: dict[str, object]


@contextmanager
def separate_spark(kind: str, folder: Path, variables: Mapping[str, str]) -> Iterator[SeparateSpark]:
    """A master and two workers, or a Connect server, each on a machine of its own.

    Args:
        kind: ``standalone`` or ``connect``.
        folder: a new folder for logs.
        variables: environment variables of the workers: the credentials of the stores.
    """
    conf: dict[str, object] = {"spark.driver.host": "127.0.0.1", "spark.executor.memory": "1g"}
    with ExitStack() as started:
        if kind == "connect":
            machines = (started.enter_context(machine()),)
            server = connect_server(folder, Path(sys.executable), machines[0], variables)
            url = started.enter_context(server)
            yield SeparateSpark(url, machines, {"kind": "spark", "remote": url})
            return
        machines = tuple(started.enter_context(machine()) for _ in range(3))
        url = started.enter_context(cluster(folder, machines=machines, variables=variables))
        yield SeparateSpark(url, machines, {"kind": "spark", "master": url, "conf": conf})


def bare_python(home: Path) -> Path:
    """A Python with all of this one's packages, but for batchdeploy."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    ours, theirs = (sysconfig.get_path("purelib", vars=vars_) for vars_ in (None, {"base": str(home)}))
    Path(theirs, "ours.pth").write_text(ours + "\n")
    python = home / "bin" / "python"
    command = [python, "-c", "import pyspark, batchdeploy"]
    failed = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    assert "No module named 'batchdeploy'" in failed.stderr, failed
    return python


@contextmanager
def connect_server(
    home: Path, python: Path, where: Machine | None = None, variables: Mapping[str, str] | None = None
) -> Iterator[str]:
    """The URL of a server of two local threads, which tries a task three times.

    Args:
        home: a folder for its log.
        python: the interpreter of its workers.
        where: the machine to start it on; by default here.
        variables: its environment variables, beside this process's own.
    """
    import pyspark

    home.mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
    }
    command = [str(Path(pyspark.__file__).parent / "bin" / "spark-submit"), "--master", "local[2,3]"]
    for key, value in settings.items():
        command += ["--conf", f"{key}={value}"]
    command += ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal"]
    if where is not None:
        command = where.command(*command)
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=home,
            env={
                **os.environ,
                "PYSPARK_PYTHON": str(python),
                "SPARK_LOCAL_IP": "127.0.0.1",
                **(variables or {}),
            },
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + 120
        while not _listens(port):
            assert process.poll() is None, (home / "server.log").read_text()[-2000:]
            assert time.monotonic() < end, (home / "server.log").read_text()[-2000:]
            time.sleep(0.5)
        yield f"sc://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
