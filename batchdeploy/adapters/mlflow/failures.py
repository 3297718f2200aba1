"""Separates errors of the model from signals that stop the run while the model is working."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType

from batchdeploy.errors import BatchdeployError


class ModelError(Exception):
    """Replaces an exception of the model that would end the process or has no printable message."""


@contextmanager
def as_failure() -> Iterator[None]:
    """Turns any error of the model into an ordinary exception; re-raises what stops the run.

    Raises:
        ModelError: in place of an error that is no ``Exception``, or that callers would take for their own.
    """
    try:
        yield
    except BaseException as error:
        if (stop := _stop_in(error)) is not None:
            # The model may have caught it, and raised another exception.
            if stop is error:
                raise
            raise stop from None
        if isinstance(error, Exception) and not isinstance(error, BatchdeployError) and _shown(error):
            raise
        raise ModelError(f"{type(error).__name__}: {_shown(error) or 'without a message'}") from None


def _stop_in(error: BaseException) -> BaseException | None:
    """The KeyboardInterrupt or signal handler's exception behind an error; None if there is none."""
    handlers = {code for number in signal.valid_signals() if (code := _code_of(number)) is not None}
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or any(one is other for other in seen):
            continue
        if isinstance(one, KeyboardInterrupt) or _passed_through(one, handlers):
            return one
        seen.append(one)
        waiting += [one.__cause__, one.__context__]
    return None


def _passed_through(error: BaseException, codes: set[CodeType]) -> bool:
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in codes:
            return True
        trace = trace.tb_next
    return False


def _code_of(number: signal.Signals | int) -> CodeType | None:
    handler = signal.getsignal(number)
    code = getattr(getattr(handler, "__func__", handler), "__code__", None)
    return code if isinstance(code, CodeType) else None


def _shown(error: BaseException) -> str | None:
    """The error's text, or None if the error cannot be printed."""
    try:
        return str(error) or type(error).__name__
    except Exception:  # noqa: BLE001
        return None
