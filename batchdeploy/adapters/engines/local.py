"""The local engine: scores splits one after another in this process, without a JVM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from batchdeploy.core.work import Split, SplitResult
from batchdeploy.errors import BatchdeployError, EngineError, Problem
from batchdeploy.host.versions import versions_here


class LocalEngine:
    """Runs work in this process; suits tests, notebooks and small partitions."""

    name = "local"
    threads = None
    device = "cpu"
    locate = str

    def map_splits(
        self, work: Callable[[Split], SplitResult], splits: Sequence[Split]
    ) -> Iterator[SplitResult]:
        """Yields the result of the work on each split, in order.

        Raises:
            EngineError: the work raised an unexpected exception.
            BatchdeployError: the error that the work raised.
        """
        for split in splits:
            try:
                yield work(split)
            except BatchdeployError:
                raise
            except Exception as error:
                text = f"{type(error).__name__}: {error}"
                raise EngineError("this process", (Problem(split.path, "scoring failed", text),)) from error

    def distribute(self, folder: Path) -> str:
        """Returns the folder itself, because this process can read it."""
        return str(folder)

    def versions(self, names: Sequence[str]) -> tuple[tuple[str, dict[str, str]], ...]:
        """Versions of these packages in this process."""
        return (("this Python", versions_here(names)),)

    def close(self) -> None:
        """Does nothing, because there is nothing to release."""
