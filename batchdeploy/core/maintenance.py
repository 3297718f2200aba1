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

    def summary(self) -> tuple[str, ...]:
        """A line for each kind of thing that was done, with the first names; empty where nothing was."""
        counts = {
            "decided run(s) published": self.finished,
            "staging folder(s) of dead processes removed": self.attempts,
            "earlier generation(s) removed": self.generations,
            "other leftover(s) removed": self.leftovers,
        }
        return tuple(
            f"{len(names)} {what}: {', '.join(names[:5])}" + (" …" if len(names) > 5 else "")
            for what, names in counts.items()
            if names
        )
