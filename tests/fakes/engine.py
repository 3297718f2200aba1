"""An engine in this process that can lose splits, lack packages, or fail."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from batchdeploy.core.work import Split, WorkerCheck, WorkerReport
from batchdeploy.errors import BatchdeployError, EngineError, Problem

Result = TypeVar("Result")


class FakeEngine:
    """Runs the work on each split, in order.

    Attributes:
        loses: the indexes of splits that are processed, but with results that never arrive.
        failure: raised in place of any work while it is set.
        installed: versions that the worker reports; every other package has version 1.0.
        lacks: packages that the worker reports as missing.
        remote: whether the worker is elsewhere.
        shipped: the distributed folders, in order.
        closed: whether the engine was closed.
    """

    device = "cpu"

    def __init__(self, name: str = "local") -> None:
        self.name = name
        self.loses: Collection[int] = ()
        self.failure: BatchdeployError | None = None
        self.installed: Mapping[str, str] = {"python": "3.11.0"}
        self.lacks: Collection[str] = ()
        self.remote = False
        self.shipped: list[Path] = []
        self.closed = False

    @property
    def locate(self) -> Callable[[str], str]:
        """The identity: the name from `distribute` is the folder's path."""
        return str

    def worker_threads(self, splits: Sequence[Split]) -> int | None:
        """None, as of an engine whose work shares this process."""
        return None

    def map_splits(self, work: Callable[[Split], Result], splits: Sequence[Split]) -> Iterator[Result]:
        """Applies the work to each split; BatchdeployErrors are raised unchanged, others as EngineError."""
        if self.failure is not None:
            raise self.failure
        for split in splits:
            try:
                result = work(split)
            except BatchdeployError:
                raise
            except Exception as error:
                text = f"{type(error).__name__}: {error}"
                raise EngineError("the fake engine", (Problem(split.path, "failed", text),)) from error
            if split.index not in self.loses:
                yield result

    def inspect(self, names: Sequence[str], check: WorkerCheck | None = None) -> tuple[WorkerReport, ...]:
        """The versions of these packages on the one worker, and what a check finds there."""
        found = {name: self.installed.get(name, "1.0") for name in names if name not in self.lacks}
        return (WorkerReport("the fake worker", found, () if check is None else check.run()),)

    def distribute(self, folder: Path) -> str:
        """The folder itself."""
        self.shipped.append(folder)
        return str(folder)

    def close(self) -> None:
        """Records that it was closed."""
        self.closed = True
