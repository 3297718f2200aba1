"""Removes leftovers from a control folder: half-written records, and unused cached copies."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from batchdeploy.core.layout import INTENTS, MODELS, RUNS, Layout

HALF_WRITTEN_SECONDS = 3600.0
CACHE_DAYS = 30
HALF_WRITTEN = ("*.tmp", f"{RUNS}/**/*.tmp", "*/*.tmp", f"{MODELS}/*/*.tmp", f"{INTENTS}/*.lost")


def remove_leftovers(layout: Layout, now: float) -> tuple[str, ...]:
    """Removes the leftovers of one table, in both modes, and returns their names.

    Args:
        layout: the table's folders.
        now: seconds since the epoch.
    """
    found = tuple(_leftovers(layout, now))
    for path in found:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return tuple(str(path.relative_to(layout.control)) for path in found)


def _leftovers(layout: Layout, now: float) -> Iterator[Path]:
    """Half-written records and given-up intents after an hour; what is cached here unused for a month."""
    aged = [(path, HALF_WRITTEN_SECONDS) for name in HALF_WRITTEN for path in layout.control.glob(name)]
    for kept in (layout.models, layout.suites, layout.pages):
        aged += [(path, CACHE_DAYS * 86_400.0) for path in (kept.iterdir() if kept.is_dir() else ())]
    for path, seconds in aged:
        with suppress(FileNotFoundError):
            # NOTE: first-use records cannot be recreated, unlike cached models.
            if path != layout.first_uses and now - path.stat().st_mtime > seconds:
                yield path
