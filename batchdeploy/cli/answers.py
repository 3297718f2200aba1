"""Keeps stdout for one JSON document, whatever a library or a model prints."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from contextvars import ContextVar
from typing import TextIO

_STREAM: ContextVar[TextIO | None] = ContextVar("answer", default=None)


def reserve_stdout() -> None:
    """Redirects stdout to stderr for everything but `answer`."""
    # A stream replaced by a test or a notebook has no descriptor and is left alone.
    with suppress(OSError, ValueError, AttributeError):
        if sys.stdout.fileno() == 1:
            sys.stdout.flush()
            _STREAM.set(os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors))
            os.dup2(2, 1)


def answer(text: str) -> None:
    """Prints a JSON document to the process's stdout."""
    print(text, file=_STREAM.get() or sys.stdout, flush=True)
