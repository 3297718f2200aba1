"""The local engine: scores splits in this process, or on all cores of this machine, without a JVM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from batchdeploy.adapters.engines.processes import map_in_processes, stop_processes, usable_cores
from batchdeploy.core.work import Split, WorkerCheck, WorkerReport
from batchdeploy.errors import BatchdeployError, EngineError, Problem
from batchdeploy.host.versions import versions_here

Result = TypeVar("Result")
# Below this number of rows, processes take longer to start and to import the model than they save.
LEAST_ROWS = 1_000_000


class LocalEngine:
    """Runs work on this machine; suits tests, notebooks and partitions that fit one machine.

    Args:
        least_rows: partitions with at least this many rows are scored in one process per core.
        cores: processes at most; None: as many as this process may use cores of.
    """

    name = "local"
    device = "cpu"
    locate = str
    remote = False

    def __init__(self, *, least_rows: int = LEAST_ROWS, cores: int | None = None) -> None:
        self._least_rows = least_rows
        self._cores = cores
        self._has_processes = False

    def worker_threads(self, splits: Sequence[Split]) -> int | None:
        """One thread in a process per core, and all of them (None) in this process."""
        return None if self._processes(splits) == 1 else 1

    def map_splits(self, work: Callable[[Split], Result], splits: Sequence[Split]) -> Iterator[Result]:
        """Yields the result of the work on each split; in order, unless several processes work.

        Raises:
            EngineError: the work raised an unexpected exception, or its process died again and again.
            BatchdeployError: the error that the work raised.
        """
        processes = self._processes(splits)
        if processes == 1:
            for split in splits:
                yield run_split(work, split)
            return
        self._has_processes = True
        yield from map_in_processes(run_split, work, splits, processes=processes)

    def distribute(self, folder: Path) -> str:
        """Returns the folder itself, because this machine can read it."""
        return str(folder)

    def inspect(self, names: Sequence[str], check: WorkerCheck | None = None) -> tuple[WorkerReport, ...]:  # noqa: ARG002
        """Versions of these packages in this process, which reads and writes as its driver does."""
        return (WorkerReport("this Python", versions_here(names)),)

    def close(self) -> None:
        """Ends the worker processes, which otherwise wait for more work."""
        if self._has_processes:
            stop_processes()
        self._has_processes = False

    def _processes(self, splits: Sequence[Split]) -> int:
        if sum(split.rows for split in splits) < self._least_rows:
            return 1
        return max(1, min(len(splits), self._cores or usable_cores()))


def run_split(work: Callable[[Split], Result], split: Split) -> Result:
    """The result of the work on a split.

    Raises:
        EngineError: the work raised an unexpected exception.
        BatchdeployError: the error that the work raised.
    """
    try:
        return work(split)
    except BatchdeployError:
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        raise EngineError("this machine", (Problem(split.path, "scoring failed", text),)) from error
