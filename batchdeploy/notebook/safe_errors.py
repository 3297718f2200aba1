"""Errors as a notebook may show them."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from batchdeploy.core.system_errors import translate_system_errors
from batchdeploy.errors import BatchdeployError, OutsideError, Problem
from batchdeploy.redaction import RedactedCause, redact, redact_chain


@contextmanager
def shown_safely() -> Iterator[None]:
    """Raises errors of this package, without secrets: a notebook shows, and keeps, all of them."""
    try:
        with translate_system_errors("the job"):
            yield
    except BatchdeployError as error:
        redact_chain(error)
        raise
    except Exception as error:
        text = "".join(traceback.format_exception(error))
        if redact(text) == text:
            raise
        problem = Problem(type(error).__name__, "not foreseen", str(error))
        raise OutsideError("batchdeploy itself", (problem,)) from RedactedCause(redact(text))
