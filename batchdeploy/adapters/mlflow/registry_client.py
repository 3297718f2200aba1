"""Calls to a registry, each with a deadline."""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from batchdeploy.core.registry_uris import RegistryUris

T = TypeVar("T")
DEADLINE_SECONDS = 20.0
# MLflow makes eight attempts of two minutes each and honours any Retry-After header. These limits hold for
# metadata calls only: a store may need a minute for the first byte of a large model.
HTTP_LIMITS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "9",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}
LOCAL = ("sqlite:", "file:", "/", ".")
LOCK = threading.Lock()


class RegistryClient:
    """MLflow's client for a registry; `call_registry` gives each of its calls a deadline."""

    def __init__(self, uris: RegistryUris) -> None:
        # Imports MLflow first, because that takes seconds, which must not count against the deadline.
        import mlflow  # noqa: F401

        self._uri = uris.registry
        self._client: Any = call_registry(partial(_connect, uris), uris.registry)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *given, **named: call_registry(
            partial(getattr(self._client, name), *given, **named), self._uri
        )


def call_registry(question: Callable[[], T], uri: str) -> T:
    """Returns a call's result or raises its error within `DEADLINE_SECONDS`.

    If one of MLflow's own HTTP limits is set in the environment, those limits apply instead of the deadline.

    Raises:
        TimeoutError: the call did not finish in time.
    """
    if uri.startswith(LOCAL):
        return question()
    with LOCK:
        if any(name in os.environ for name in HTTP_LIMITS):
            return question()
        with _http_limits():
            return _call_in_thread(question)


def root_cause(error: BaseException) -> str:
    """The innermost cause of an error in one line, without the messages that libraries wrap around it."""
    found: BaseException = error
    one: BaseException | None = error
    while one is not None:
        if isinstance(one, OSError):
            found = one
        # urllib3 keeps the cause in `reason`; SQLAlchemy keeps the database driver's error in `orig`.
        for inner in (getattr(one, "reason", None), getattr(one, "orig", None)):
            found = inner if isinstance(inner, BaseException) else found
        one = one.__cause__ or one.__context__
    return f"{type(found).__name__}: {' '.join(str(found).split())}"


def _connect(uris: RegistryUris) -> Any:
    from mlflow import MlflowClient

    for uri in dict.fromkeys(uris):
        if uri.partition(":")[0].partition("+")[0] in ("sqlite", "postgresql", "mysql", "mssql"):
            _check_database(uri)
    return MlflowClient(tracking_uri=uris.tracking, registry_uri=uris.registry)


def _check_database(uri: str) -> None:
    """Connects once, because MLflow retries a failed connection ten times, for a hundred seconds."""
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
