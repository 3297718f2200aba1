"""The result of maintenance on a published table."""

from __future__ import annotations

from dataclasses import dataclass

from batchdeploy.core import FORBID_UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanupReport:
    """What recovery and garbage collection did.

    Attributes:
        finished: runs that had written an intent before their process died, now published.
        attempts: staging folders of dead processes.
        generations: earlier generations beyond the retention, as ``partition/run``.
        leftovers: other leftovers, relative to the control folder.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    finished: tuple[str, ...] = ()
    attempts: tuple[str, ...] = ()
    generations: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()
