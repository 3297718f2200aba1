"""Stops a run cleanly on SIGTERM, Ctrl-C or a time limit, and reports whether it was published."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from batchdeploy.core.records import Plan
from batchdeploy.errors import BatchdeployError, Problem, RunStopped
from batchdeploy.workflows import timing
from batchdeploy.workflows.toolbox import Toolbox


class Stop(KeyboardInterrupt):
    """Raised in the main thread at any point; as a KeyboardInterrupt, libraries do not catch it."""


def stop_on_sigterm() -> None:
    """Makes SIGTERM end the process like Ctrl-C, so that it cleans up first."""
    signal.signal(signal.SIGTERM, _raise("SIGTERM"))


@contextmanager
def stoppable(tools: Toolbox, plan: Plan) -> Iterator[None]:
    """Turns a stop into an error that says whether the partition was published.

    Also enforces ``limits.minutes``, but only in the main thread, because a timer signal cannot stop another
    thread.

    Args:
        tools: the deployment's toolbox.
        plan: the plan being executed.
    """
    before = tools.publishing.table.attempt_of(plan.folder)
    with _clock(tools.deployment.limits.minutes):
        try:
            yield
        except KeyboardInterrupt as stop:
            raise _stopped(tools, plan, before, str(stop) or "Ctrl-C") from stop


def _stopped(tools: Toolbox, plan: Plan, before: str | None, why: str) -> RunStopped:
    hint = "nothing was published; run it again"
    try:
        tools.publishing.maintenance.recover(now=timing.now().timestamp())
        if (
            tools.publishing.table.published_run(plan.folder) == plan.run_id
            and tools.publishing.table.attempt_of(plan.folder) != before
        ):
            hint = "the scores were published already; only the report may be missing"
    except BatchdeployError as error:
        hint = f"whether it was published is unknown: {error.problems[0]}"
    return RunStopped(
        f"the run of {plan.folder}", (Problem(plan.run_id, f"was stopped by {why}"),), hint=hint
    )


@contextmanager
def _clock(minutes: float | None) -> Iterator[None]:
    taken = signal.getitimer(signal.ITIMER_REAL)[0] > 0
    # NOTE: a process has one such timer; if an orchestrator has set it, that limit holds.
    if minutes is None or taken or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _raise(f"limits.minutes = {minutes:g}"))
    signal.setitimer(signal.ITIMER_REAL, minutes * 60)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _raise(why: str) -> signal._HANDLER:
    def handle(_number: int, _frame: FrameType | None) -> None:
        raise Stop(why)

    return handle
