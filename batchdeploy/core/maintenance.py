"""What looking after a published table did."""

from __future__ import annotations

from dataclasses import dataclass

from batchdeploy.core import FORBID_UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanupReport:
    """What recovery and garbage collection did.

    Attributes:
        finished: runs that were decided before their process died, and are published now.
        attempts: staging folders of dead processes.
        generations: earlier generations beyond the retention, as ``partition/run``.
        leftovers: other leftovers, relative to the control folder.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    finished: tuple[str, ...] = ()
    attempts: tuple[str, ...] = ()
    generations: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()
