"""Spark Connect: the work on a server, from a machine without Java."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

pytestmark = [pytest.mark.jvm, pytest.mark.slow]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Connect server from the pip package, on 127.0.0.1."""
    import pyspark

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path_factory.mktemp("connect")
    settings = {
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
    }
    command = [str(Path(pyspark.__file__).parent / "bin" / "spark-submit"), "--master", "local[2]"]
    for key, value in settings.items():
        command += ["--conf", f"{key}={value}"]
    command += ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal"]
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=home,
            env=os.environ | {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + 120
        while not listens(port):
            assert process.poll() is None, (home / "server.log").read_text()[-2000:]
            assert time.monotonic() < end, (home / "server.log").read_text()[-2000:]
            time.sleep(0.5)
        yield f"sc://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def without_java(folder: Path) -> dict[str, str]:
    """An environment in which no Java is to be found."""
    tools = folder / "bin"
    tools.mkdir()
    for name in ("env", "bash", "sh"):
        (tools / name).symlink_to(str(shutil.which(name)))
    environment = {key: value for key, value in os.environ.items() if key != "JAVA_HOME"}
    environment["PATH"] = str(tools)
    assert shutil.which("java", path=environment["PATH"]) is None
    return environment


def run(deployment: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "batchdeploy", "run", str(deployment), "--partition", "2024-03-02"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


def test_a_machine_without_java_scores_over_connect(
    project: Path, deployment: Path, server: str, tmp_path: Path
) -> None:
    text = deployment.read_text().replace("kind: local", f'kind: spark, remote: "{server}"')
    deployment.write_text(text)
    done = run(deployment, without_java(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    table = pd.read_parquet(project / "scores" / "churn")
    assert len(table) == 200


def test_a_server_that_is_not_there_is_said(deployment: Path, tmp_path: Path) -> None:
    text = deployment.read_text().replace("kind: local", 'kind: spark, remote: "sc://127.0.0.1:1"')
    deployment.write_text(text)
    done = run(deployment, without_java(tmp_path))
    assert done.returncode == 3, done.stderr[-3000:]
    assert "sc://127.0.0.1:1" in done.stderr
