"""The fence: nobody may have published the partition since the caller looked."""

from __future__ import annotations

from batchdeploy.core.records import Plan
from batchdeploy.publishing.refusals import stale


def check_fence(folder: str, *, expected_run: str | None, found: str | None) -> None:
    """Does nothing if the published run is the expected one.

    Raises:
        StaleRunError: another run has published the partition since.
    """
    if found != expected_run:
        raise stale(folder, expected_run, found)


def same_pins_came_first(plan: Plan, found: str | None) -> bool:
    """Whether another attempt at the plan's own run has published it since the plan."""
    return found == plan.run_id != plan.base_run
