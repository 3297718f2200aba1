"""The Protocols of scoring: workers that read splits, and engines that read whole partitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from batchdeploy.core.records import DataPin
from batchdeploy.core.work import AttemptFolders, ScoreJob, Split, SplitResult, WorkerCheck

Work = Callable[[Split], SplitResult]


class Scorer(Protocol):
    """Makes the function that scores a split on a worker."""

    def prepare(self, job: ScoreJob, model: Path, splits: Sequence[Split]) -> ScoreJob:
        """The job with the accelerator that ``model.runtime`` names, built and verified."""
        ...

    def worker(self, job: ScoreJob) -> Work:
        """The picklable function that scores one split."""
        ...

    def access_check(self, folders: AttemptFolders, splits: Sequence[Split]) -> WorkerCheck:
        """What each worker tries before the first task: to read the input, and to write where files go."""
        ...

    def find_duplicates(
        self, job: ScoreJob, splits: Sequence[Split], results: Sequence[SplitResult]
    ) -> tuple[Split, ...]:
        """The splits that hold rows with duplicate keys, each with its duplicate rows listed."""
        ...


class PartitionScorer(Protocol):
    """Scores a partition whose rows the engine reads itself, and divides into tasks as it likes."""

    def score(self, job: ScoreJob, pin: DataPin, splits: Sequence[Split]) -> Sequence[SplitResult]:
        """The results of all tasks, each row in one of them; rows with duplicate keys are flagged.

        Args:
            job: what to do with the rows.
            pin: the partition.
            splits: its splits, at least one for each file.

        Raises:
            DataError: a file changed since it was pinned, or cannot be read.
            EngineError: the engine failed.
        """
        ...
