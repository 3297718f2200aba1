"""One machine, no JVM: splits one after another in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from batchdeploy.core.work import Split, SplitResult


class LocalEngine:
    """The fast lane for tests, notebooks and small partitions."""

    name = "local"
    threads = None

    def map_splits(
        self, work: Callable[[Split], SplitResult], splits: Sequence[Split]
    ) -> Iterator[SplitResult]:
        """Does the work on each split, in order."""
        return map(work, splits)

    def close(self) -> None:
        """Nothing to release."""
