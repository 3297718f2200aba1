"""The named points of the publishing protocols, in order; the fault trials stop a process at them.

In production no hook is set, and a point costs one comparison.
"""

from __future__ import annotations

from collections.abc import Callable

POINTS = (
    "attempt begun",
    "files collected",
    "files verified",
    "table locked",
    "dead runs finished",
    "fence passed",
    "intent written",
    "folders swapped",
    "old generation retired",
    "quarantine kept",
    "manifest written",
    "audit written",
    "intent removed",
    "staging removed",
    "table unlocked",
    "old generations pruned",
)

# Those of a publish by pointer.
POINTER_POINTS = (
    "attempt begun",
    "files collected",
    "files verified",
    "commit begun",
    "pointer replaced",
    "records written",
    "staging removed",
)

hook: Callable[[str], None] | None = None


def hit(point: str) -> None:
    """Calls the hook, if one is set, with the name of the point."""
    if hook is not None:
        hook(point)
