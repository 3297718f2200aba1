"""A protocol for each thing outside. Stages speak to these; `batchdeploy.assembly` chooses who answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from batchdeploy.core.deployment import DataRef, ModelRef
from batchdeploy.core.profiles import ColumnProfile
from batchdeploy.core.records import (
    DataPin,
    DriftReport,
    ExpectationResult,
    InputSchema,
    ModelPin,
    Plan,
    TextPin,
)
from batchdeploy.core.work import ScoreJob, Split, SplitResult
from batchdeploy.errors import Problem
from batchdeploy.ports.publishing import Claims, Evidence, Maintenance, PublishedTable, Publisher, Staging

__all__ = [
    "Claims",
    "Engine",
    "Evidence",
    "LoadPredictor",
    "Maintenance",
    "Painter",
    "PartitionReader",
    "Predictor",
    "PublishedTable",
    "Publisher",
    "Registry",
    "Scorer",
    "Source",
    "Staging",
    "TextSource",
    "Validator",
    "Work",
]

Predictor = Callable[[Any], Any]
LoadPredictor = Callable[[str], Predictor]
Work = Callable[[Split], SplitResult]


class Registry(Protocol):
    """Where models are registered."""

    @property
    def load(self) -> LoadPredictor:
        """A picklable function that loads a fetched copy on a worker."""
        ...

    def resolve(self, ref: ModelRef) -> ModelPin:
        """Pins the model: RequestError for a ref that leads nowhere, RegistryError for no answer."""
        ...

    def fetch(self, pin: ModelPin, models: Path) -> Path:
        """A private copy of the model's files below ``models``, whose digest is the pin's."""
        ...

    def code_in(self, ref: ModelRef) -> tuple[Problem, ...]:
        """What of a model would run code of whoever registered it, told from its description."""
        ...

    def keep_download(self, pin: ModelPin, models: Path) -> None:
        """Keeps below ``models`` what `resolve` had to download of the model; downloads nothing."""
        ...

    def modules(self, pin: ModelPin) -> frozenset[str] | None:
        """The modules whose objects a model's files hold, told without loading them; None where not known."""

    def made_with(self, folder: Path) -> dict[str, str]:
        """Package (and ``python``) to the version that a fetched model was made with."""
        ...

    def move_alias(self, name: str, alias: str, *, seen: int, version: int) -> None:
        """Points an alias at a version; RequestError where it is no longer where it was seen."""
        ...


class Source(Protocol):
    """Where the rows are."""

    def partitions(self, ref: DataRef) -> tuple[str, ...]:
        """All values of the partition column, sorted."""
        ...

    def partition_problems(self, ref: DataRef) -> tuple[Problem, ...]:
        """Why folders of the partition column cannot be run, by their names."""

    def pin(self, ref: DataRef, partition: str) -> DataPin:
        """The files of one partition: PartitionError where there are none, DataError for a bad folder."""
        ...


class Engine(Protocol):
    """What does the work over many rows.

    ``threads`` is what a worker may use, None for all; ``device`` is where models answer: ``cpu``, ``cuda``.
    """

    @property
    def name(self) -> str: ...

    @property
    def threads(self) -> int | None: ...

    @property
    def device(self) -> str: ...

    def map_splits(self, work: Work, splits: Sequence[Split]) -> Iterable[SplitResult]:
        """Does the work on every split, in any order; what the work refuses is raised as it was."""
        ...

    @property
    def locate(self) -> Callable[[str], str]:
        """A picklable function: what `distribute` gave to where it is on a worker."""
        ...

    def versions(self, names: Sequence[str]) -> tuple[tuple[str, dict[str, str]], ...]:
        """Versions of these packages (and of ``python``) on each worker, by its name."""
        ...

    def distribute(self, folder: Path) -> str:
        """Brings a folder to the workers; gives the name they find it by."""
        ...

    def close(self) -> None:
        """Releases sessions and processes."""


class Validator(Protocol):
    """What checks the rows."""

    def problems(self, suite_text: str, *, where: str) -> tuple[Problem, ...]:
        """What is wrong with a suite, before any data is read."""
        ...

    def columns(self, suite_text: str, *, where: str) -> frozenset[str] | None:
        """The columns that the suite looks at, or None where it looks at the table as a whole."""
        ...

    def check(self, suite_text: str, frame: Any, *, where: str) -> tuple[ExpectationResult, ...]:
        """Evaluates every expectation; failing ones are results, not errors."""
        ...


class Painter(Protocol):
    """What draws the report's pictures, each as one inline SVG."""

    def distribution(self, reference: ColumnProfile, current: ColumnProfile) -> str:
        """Both distributions side by side."""
        ...

    def overview(self, report: DriftReport) -> str:
        """Each column's PSI against its limit."""
        ...


class TextSource(Protocol):
    """Where suites and references are."""

    def read(self, path: str, *, key: str) -> tuple[str, TextPin]:
        """The text at a path, and its pin: DataError, which names the deployment's ``key``."""
        ...

    def read_pinned(self, pin: TextPin) -> str:
        """The text that was pinned: DataError where it is another one by now."""
        ...


class PartitionReader(Protocol):
    """What reads a pinned partition on this machine."""

    def inspect(self, pin: DataPin) -> InputSchema:
        """Columns and rows from the footers of a partition's files."""
        ...

    def frame(self, plan: Plan, columns: Collection[str] | None) -> AbstractContextManager[Any]:
        """Yields the partition as the frame a validator reads; at the end, the files must be the pinned ones.

        Args:
            plan: what was planned.
            columns: those that will be looked at, or None for all.
        """
        ...

    def make_splits(self, pin: DataPin) -> tuple[Split, ...]:
        """The partition cut into pieces of work."""
        ...


class Scorer(Protocol):
    """What scores the splits of a partition, wherever the engine lets it work."""

    def prepare(self, job: ScoreJob, model: Path, splits: Sequence[Split]) -> ScoreJob:
        """The job with what the deployment's ``model.runtime`` needs, made and proved."""
        ...

    def worker(self, job: ScoreJob) -> Work:
        """The picklable function that scores one split."""
        ...

    def find_duplicates(
        self, job: ScoreJob, splits: Sequence[Split], results: Sequence[SplitResult]
    ) -> tuple[Split, ...]:
        """The splits with rows whose keys are not unique in the partition, with those rows named."""
        ...
