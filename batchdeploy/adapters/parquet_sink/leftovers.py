"""What a control folder no longer needs: half-written records, unused copies, evidence of old attempts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from batchdeploy.adapters.parquet_sink.standing import shown_attempt
from batchdeploy.core.layout import Layout

LITTER_SECONDS = 3600.0
MODEL_DAYS = 30
# NOTE: longer than staging stays, so that what is removed here can no longer be published.
ATTEMPT_DAYS = 30
NEWEST_ATTEMPTS = 3
HALF_WRITTEN = ("runs/**/*.tmp", "*/*.tmp", "models/*/*.tmp", "intents/*.lost")


def remove_leftovers(layout: Layout, now: float) -> tuple[str, ...]:
    """Removes the leftovers of one table, whatever way it is published; gives their names.

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
    """Half-written records and given-up intents, an hour old; models, marks and attempts, a month old."""
    aged = [(path, LITTER_SECONDS) for name in HALF_WRITTEN for path in layout.control.glob(name)]
    for kept in (layout.models, layout.suites):
        aged += [(path, MODEL_DAYS * 86_400.0) for path in (kept.iterdir() if kept.is_dir() else ())]
    aged += [(path, ATTEMPT_DAYS * 86_400.0) for path in _surplus_attempts(layout)]
    for path, seconds in aged:
        with suppress(FileNotFoundError):
            # NOTE: records of what models were at first are no copies of anything.
            if path != layout.first_uses and now - path.stat().st_mtime > seconds:
                yield path


def _surplus_attempts(layout: Layout) -> Iterator[Path]:
    """Evidence of attempts that no run's folder shows, without the newest of each run."""
    decided = {_evidence_of(intent) for intent in layout.intents.glob("*.json")}
    for attempts in layout.control.glob("runs/*/*/attempts"):
        # NOTE: the names begin with the time at which the attempt began.
        names = sorted((path.name for path in attempts.iterdir()), reverse=True)
        shown = shown_attempt(attempts.parent) if len(names) > NEWEST_ATTEMPTS else None
        if shown is not None:
            yield from (
                attempts / name for name in names[NEWEST_ATTEMPTS:] if name != shown and name not in decided
            )


def _evidence_of(intent: Path) -> str | None:
    """The attempt whose evidence a decided publish will show."""
    with suppress(OSError, ValueError, AttributeError):
        return str(json.loads(intent.read_text(encoding="utf-8")).get("evidence"))
    return None
