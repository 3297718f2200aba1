"""Questions to a registry: answered within seconds or given up, with the cause."""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")
DEADLINE_SECONDS = 20.0
# NOTE: MLflow itself tries eight times for two minutes each, and waits between tries as long as a server asks
# it to. These hold for questions only: the first byte of a large model may take a store a minute.
HTTP_LIMITS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "9",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}
LOCAL = ("sqlite:", "file:", "/", ".")
LOCK = threading.Lock()


class RegistryClient:
    """MLflow's client for a registry; each of its questions is asked by `call_registry`."""

    def __init__(self, uri: str) -> None:
        # NOTE: importing takes seconds that are not the registry's.
        import mlflow  # noqa: F401

        self._uri = uri
        self._client: Any = call_registry(partial(_connect, uri), uri)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *given, **named: call_registry(
            partial(getattr(self._client, name), *given, **named), self._uri
        )


def call_registry(question: Callable[[], T], uri: str) -> T:
    """The answer of what is at a URI, or the error that it ended with; both within `DEADLINE_SECONDS`.

    Where somebody set one of MLflow's own bounds for HTTP, that person's patience holds and not ours.

    Raises:
        TimeoutError: there was no answer.
    """
    if uri.startswith(LOCAL):
        return question()
    with LOCK:
        if any(name in os.environ for name in HTTP_LIMITS):
            return question()
        with _http_limits():
            return _call_in_thread(question)


def root_cause(error: BaseException) -> str:
    """What an error came from, in one line: libraries wrap what the system said in sentences of their own."""
    found: BaseException = error
    one: BaseException | None = error
    while one is not None:
        if isinstance(one, OSError):
            found = one
        # NOTE: what urllib3 gave up for, and what a database's driver says that SQLAlchemy says at length.
        for inner in (getattr(one, "reason", None), getattr(one, "orig", None)):
            found = inner if isinstance(inner, BaseException) else found
        one = one.__cause__ or one.__context__
    return f"{type(found).__name__}: {' '.join(str(found).split())}"


def _connect(uri: str) -> Any:
    from mlflow import MlflowClient

    scheme = uri.partition(":")[0].partition("+")[0]
    if scheme in ("sqlite", "postgresql", "mysql", "mssql"):
        _check_database(uri)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _check_database(uri: str) -> None:
    """Connects once: MLflow tries ten times where it cannot, for a hundred seconds."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri)
    try:
        with engine.connect():
            pass
    finally:
        engine.dispose()


@contextmanager
def _http_limits() -> Iterator[None]:
    os.environ.update(HTTP_LIMITS)
    try:
        yield
    finally:
        for name in HTTP_LIMITS:
            os.environ.pop(name, None)


def _call_in_thread(question: Callable[[], T]) -> T:
    ended: dict[str, Any] = {}

    def answer() -> None:
        try:
            ended["answer"] = question()
        except BaseException as error:  # noqa: BLE001
            ended["error"] = error

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(answer,), daemon=True)
    thread.start()
    thread.join(DEADLINE_SECONDS)
    if "error" in ended:
        raise ended["error"]
    if "answer" not in ended:
        raise TimeoutError(f"no answer within {DEADLINE_SECONDS:g} s")
    return ended["answer"]  # type: ignore[no-any-return]
