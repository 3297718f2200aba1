"""Registries that cannot be reached: said so within seconds, with the cause."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow.store.db.utils
import pytest

from batchdeploy.adapters.mlflow import MlflowRegistry, registry_client
from batchdeploy.core.deployment import ModelRef
from batchdeploy.errors import MissingPackageError, RegistryError

CHURN = ModelRef(name="churn")
Start = Callable[..., int]


class Busy(BaseHTTPRequestHandler):
    """Answers nothing but that it is busy, and when to come again."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(503)
        self.send_header("Retry-After", "3600")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second in place of twenty, and nobody who asks MLflow for another patience; no try but the first."""

    def wait(_seconds: float) -> None:
        raise AssertionError("MLflow tries again on its own terms")

    for name in registry_client.HTTP_LIMITS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(registry_client, "DEADLINE_SECONDS", 1.0)
    # NOTE: patch the module's clock only; other threads of this process, such as py4j's, use the real one.
    monkeypatch.setattr(mlflow.store.db.utils, "time", SimpleNamespace(**vars(time) | {"sleep": wait}))


@pytest.fixture
def busy() -> Iterator[int]:
    Busy.asked = 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Busy)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture
def mute() -> Iterator[int]:
    """A port where somebody takes calls and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def refusal(uri: str) -> str:
    with pytest.raises(RegistryError) as caught:
        MlflowRegistry(uri).resolve(CHURN)
    return str(caught.value)


def test_the_cause_is_told_whole_whoever_was_asked(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert "Connection refused\n" in refusal(f"http://127.0.0.1:{port}")
    told = refusal(f"postgresql+psycopg2://bob:hunter2@127.0.0.1:{port}/mlflow")
    assert "Connection refused" in told
    assert "hunter2" not in told
    (tmp_path / "mlflow.db").mkdir()
    assert "unable to open database file" in refusal(f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_a_driver_that_is_missing_is_no_registry_that_is_down() -> None:
    with pytest.raises(MissingPackageError, match="psycopg: is not installed, and is needed for it"):
        MlflowRegistry("postgresql+psycopg://127.0.0.1/mlflow").resolve(CHURN)


def test_one_that_is_busy_is_asked_twice_and_not_an_hour_later(busy: int) -> None:
    assert "too many 503 error responses" in refusal(f"http://127.0.0.1:{busy}")
    assert Busy.asked == 2
    assert not set(registry_client.HTTP_LIMITS) & set(os.environ)


@pytest.mark.parametrize("kind", ["http://127.0.0.1:{}", "postgresql+psycopg2://127.0.0.1:{}/mlflow"])
def test_one_that_says_nothing_is_given_up(mute: int, kind: str) -> None:
    assert "TimeoutError: no answer within 1 s" in refusal(kind.format(mute))


def test_the_patience_that_a_person_asks_mlflow_for_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []
    registry_client.call_registry(lambda: threads.append(threading.current_thread()), "http://127.0.0.1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    registry_client.call_registry(lambda: threads.append(threading.current_thread()), "http://127.0.0.1")
    assert [thread is threading.main_thread() for thread in threads] == [False, True]
