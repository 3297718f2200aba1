"""Progress on stderr: a bar on a terminal, else a line for each stage as it begins."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from batchdeploy.errors import BatchdeployError
from batchdeploy.workflows.plan_range import PlannedRange
from batchdeploy.workflows.run import Outcome


class ProgressDisplay(Protocol):
    """Displays a command's progress: partitions, their stages, and rows scored."""

    def begin(self, partition: str) -> None:
        """A partition begins."""
        ...

    def stage(self, name: str, rows: int) -> None:
        """A stage begins (0 rows), or has processed more rows."""
        ...

    def end(self) -> None:
        """The partition is done."""
        ...


@contextmanager
def progress(total: int) -> Iterator[ProgressDisplay]:
    """A progress bar if stderr is a terminal, else one line per stage."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(total)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[stage]}"),
    )
    with Progress(*columns, console=console, transient=True) as display:
        yield Bar(display, total)


class Bar:
    """A progress bar with the partition, its stage, and how many partitions are done."""

    def __init__(self, display: Progress, total: int) -> None:
        self._display = display
        self._task = display.add_task("starting", total=total, stage="", rows=0)
        self._rows = 0
        self._partition = ""

    def begin(self, partition: str) -> None:
        self._partition, self._rows = partition, 0
        self._display.update(self._task, description=partition)

    def stage(self, name: str, rows: int) -> None:
        self._rows += rows
        self._display.update(self._task, stage=name + (f" {self._rows:,} rows" if self._rows else ""))

    def end(self) -> None:
        self._display.update(self._task, advance=1, stage="done")


class Lines:
    """One line per stage: seconds since the start, partition, stage."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._count = 0
        self._began = time.monotonic()
        self._partition = self._stage = ""

    def begin(self, partition: str) -> None:
        self._count += 1
        place = f" ({self._count} of {self._total})" if self._total > 1 else ""
        self._partition, self._stage = partition + place, ""

    def stage(self, name: str, rows: int) -> None:  # noqa: ARG002
        if name != self._stage:
            self._stage = name
            print_stage(self._partition, name, time.monotonic() - self._began)

    def end(self) -> None:
        """Prints nothing: the command prints the result of each partition at its end."""


@contextmanager
def track_backfill() -> Iterator[BackfillDisplay]:
    """Yields the display of a backfill; on a terminal, it is cleared at the end."""
    with ExitStack() as stack:
        yield BackfillDisplay(stack)


class BackfillDisplay:
    """Displays a backfill's partitions once they are planned."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._display: ProgressDisplay = Lines(0)

    def planned(self, plans: PlannedRange) -> None:
        self._display = self._stack.enter_context(progress(len(plans.plans)))

    def begin(self, partition: str) -> Callable[[str, int], None]:
        self._display.begin(partition)
        return self._display.stage

    def end(self, outcome: Outcome | BatchdeployError) -> None:  # noqa: ARG002
        self._display.end()


def print_stage(partition: str, stage: str, seconds: float = 0.0) -> None:
    """Prints one line to stderr."""
    print(f"{seconds:6.1f} s {partition}: {stage}", file=sys.stderr, flush=True)
