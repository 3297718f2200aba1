"""How long each stage takes, in the log of whoever listens."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from batchdeploy.redaction import logger

LOG = logger("batchdeploy")
P = ParamSpec("P")
T = TypeVar("T")


def timed(stage: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A decorator that logs the seconds that a stage took, whether it passed or was refused."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def timed_function(*arguments: P.args, **named: P.kwargs) -> T:
            began = time.monotonic()
            try:
                return function(*arguments, **named)
            finally:
                LOG.info("%s took %.1f s", stage, time.monotonic() - began)

        return timed_function

    return decorate
