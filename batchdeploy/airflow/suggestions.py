"""Suggests the known name that somebody may have mistyped."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any


def suggestion(name: Any, known: Sequence[str]) -> str:
    """``; did you mean NAME?`` with the closest known name, in any case; empty if none is close."""
    close = get_close_matches(str(name).lower(), known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
