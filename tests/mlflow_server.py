"""MLflow's own server on loopback, and copies of a project's model on it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow

from batchdeploy.adapters.mlflow import MlflowRegistry, digest_folder
from batchdeploy.core.deployment import ModelRef

FETCHED = re.compile(r'"GET /api/2.0/mlflow-artifacts/artifacts/(\S+) HTTP')


class Server:
    """MLflow's own server, on a port of its own, with its artifacts behind it."""

    def __init__(self, root: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.uri = f"http://127.0.0.1:{free.getsockname()[1]}"
        self._log = root / "server.log"
        port = self.uri.rpartition(":")[2]
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{root / 'server.db'}"]
        command += ["--artifacts-destination", str(root / "artifacts"), "--uvicorn-opts", "--access-log"]
        self._process = subprocess.Popen(
            command,
            cwd=root,
            stdout=self._log.open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"},
        )

    def wait(self) -> None:
        """Returns once it answers."""
        while True:
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=5).close()
            except OSError:
                time.sleep(0.2)
            else:
                return

    def fetched(self) -> list[str]:
        """The names of the files that were fetched from it, descriptions left out."""
        found = FETCHED.findall(self._log.read_text())
        return sorted(name for name in (path.rpartition("/")[2] for path in found) if name != "MLmodel")

    def stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def mlflow_server(root: Path) -> Iterator[Server]:
    """A server that answers, for the time of the context."""
    found = Server(root)
    try:
        found.wait()
        yield found
    finally:
        found.stop()


def log_copy(server: Server, project: Path, *, name: str, tagged: bool) -> list[str]:
    """Registers the project's champion on the server under a name; gives the names of its files."""
    local = MlflowRegistry(f"sqlite:///{project / 'mlflow.db'}")
    folder = local.fetch(local.resolve(ModelRef(name="churn")), project / "copies")
    client = mlflow.MlflowClient(tracking_uri=server.uri, registry_uri=server.uri)
    run = client.create_run(client.get_experiment_by_name("Default").experiment_id)
    client.log_artifacts(run.info.run_id, str(folder), name)
    client.create_registered_model(name)
    source = f"{run.info.artifact_uri}/{name}"
    tags = {"batchdeploy.digest": digest_folder(folder)} if tagged else None
    found = client.create_model_version(name, source=source, run_id=run.info.run_id, tags=tags)
    client.set_registered_model_alias(name, "champion", str(found.version))
    return sorted(file.name for file in folder.rglob("*") if file.is_file() and file.name != "MLmodel")
