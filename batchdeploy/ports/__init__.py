"""One Protocol per external dependency. Stages depend on these; `batchdeploy.assembly` picks the adapters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from batchdeploy.core.deployment import DataRef, ModelRef
from batchdeploy.core.profiles import ColumnProfile, Reference
from batchdeploy.core.records import (
    DataPin,
    DriftReport,
    ExpectationResult,
    InputSchema,
    ModelPin,
    Plan,
    TextPin,
)
from batchdeploy.core.work import Split, WorkerCheck, WorkerReport
from batchdeploy.errors import Problem
from batchdeploy.ports.publishing import (
    Claims,
    Evidence,
    Maintenance,
    PublishedTable,
    Publisher,
    Staging,
    TableAccess,
)
from batchdeploy.ports.scoring import PartitionScorer, Scorer, Work

__all__ = [
    "Claims",
    "Engine",
    "Evidence",
    "LoadPredictor",
    "Maintenance",
    "ModelFetcher",
    "ModelRegistry",
    "Painter",
    "PartitionReader",
    "PartitionScorer",
    "Predictor",
    "PublishedTable",
    "Publisher",
    "ReferenceSource",
    "Scorer",
    "Source",
    "Staging",
    "TableAccess",
    "TextSource",
    "Validator",
    "Work",
    "Workers",
]

Result = TypeVar("Result")
Predictor = Callable[[Any], Any]
LoadPredictor = Callable[[str], Predictor]


class ModelRegistry(Protocol):
    """Models by name, with their versions and aliases."""

    def resolve(self, ref: ModelRef) -> ModelPin:
        """Pins a model version and its digest.

        Raises:
            RequestError: no model version matches the ref.
            RegistryError: the registry does not answer.
        """
        ...

    def code_problems(self, ref: ModelRef) -> tuple[Problem, ...]:
        """The parts of a model that would run its author's code, found without loading the model."""
        ...

    def modules(self, pin: ModelPin) -> frozenset[str] | None:
        """The modules whose objects the model's files hold, found without loading it; None if unknown."""

    def move_alias(self, name: str, alias: str, *, seen: int, version: int) -> None:
        """Points an alias at a version, if it still points at version ``seen``.

        Raises:
            RequestError: the alias points at another version by now.
        """
        ...


class ModelFetcher(Protocol):
    """Private copies of the files of registered models."""

    @property
    def load(self) -> LoadPredictor:
        """A picklable function that loads a fetched copy on a worker."""
        ...

    def fetch(self, pin: ModelPin, models: Path) -> Path:
        """Copies the model's files below ``models``, verifies their digest, and returns the folder."""
        ...

    def keep_download(self, pin: ModelPin, models: Path) -> None:
        """Moves files that `resolve` downloaded below ``models``; downloads nothing."""
        ...

    def package_versions(self, folder: Path) -> dict[str, str]:
        """The versions of packages (and of ``python``) that a fetched model was logged with."""
        ...


class Source(Protocol):
    """The place that input rows are read from."""

    def partitions(self, ref: DataRef) -> tuple[str, ...]:
        """All values of the partition column, sorted."""
        ...

    def partition_problems(self, ref: DataRef) -> tuple[Problem, ...]:
        """One problem per folder whose name is no valid partition."""

    def pin(self, ref: DataRef, partition: str) -> DataPin:
        """Pins the files of one partition.

        Raises:
            PartitionError: the partition has no files.
            DataError: the data path is unusable.
        """
        ...

    def changes(self, ref: DataRef, partition: str, pin: DataPin) -> tuple[Problem, ...]:
        """What of a partition is no longer as it was pinned, by file; empty if all is.

        A pinned state that stays readable, such as a table's version, does not change.
        """
        ...


class Engine(Protocol):
    """Runs functions over splits, on this machine or on a cluster.

    ``device`` is the device that models predict on, ``cpu`` or ``cuda``.
    """

    @property
    def name(self) -> str: ...

    @property
    def device(self) -> str: ...

    def worker_threads(self, splits: Sequence[Split]) -> int | None:
        """Native threads per worker; None: the work shares this process, and may use all cores."""
        ...

    def map_splits(self, work: Callable[[Split], Result], splits: Sequence[Split]) -> Iterable[Result]:
        """Applies ``work`` to every split and yields the results in any order.

        An exception of the work that is a BatchdeployError is raised unchanged.
        """
        ...

    def close(self) -> None:
        """Releases sessions and processes."""


class Workers(Protocol):
    """The machines and processes that an engine works with."""

    @property
    def locate(self) -> Callable[[str], str]:
        """A picklable function from a name that `distribute` returned to the local path on a worker."""
        ...

    @property
    def remote(self) -> bool:
        """Whether they may be on other machines than this process."""
        ...

    def inspect(self, names: Sequence[str], check: WorkerCheck | None = None) -> tuple[WorkerReport, ...]:
        """Reports of each worker host, made in one job.

        Args:
            names: packages, and ``python``, whose versions are reported.
            check: what remote workers try.
        """
        ...

    def distribute(self, folder: Path) -> str:
        """Makes a folder available on the workers and returns the name that `locate` takes."""
        ...


class Validator(Protocol):
    """Evaluates an expectation suite."""

    def problems(self, suite_text: str, *, where: str) -> tuple[Problem, ...]:
        """The problems of a suite, found without reading data."""
        ...

    def columns(self, suite_text: str, *, where: str) -> frozenset[str] | None:
        """The columns that the suite needs, or None if it needs the whole table."""
        ...

    def check(self, suite_text: str, frame: Any, *, where: str) -> tuple[ExpectationResult, ...]:
        """Evaluates every expectation. Failed expectations are results; nothing is raised for them."""
        ...


class Painter(Protocol):
    """Draws the report's charts, each as an inline SVG."""

    def distribution(self, reference: ColumnProfile, current: ColumnProfile) -> str:
        """The reference and the current distribution side by side."""
        ...

    def overview(self, report: DriftReport) -> str:
        """Each column's PSI against its limit."""
        ...


class TextSource(Protocol):
    """Reads suites and reference files."""

    def read(self, path: str, *, key: str) -> tuple[str, TextPin]:
        """The text of a file, and its pin.

        Raises:
            DataError: the file is missing or unreadable; the problem names the deployment's ``key``.
        """
        ...

    def read_pinned(self, pin: TextPin) -> str:
        """The text of a pinned file.

        Raises:
            DataError: the file changed since it was pinned.
        """
        ...


class ReferenceSource(Protocol):
    """Where the reference profiles are that drift is measured against."""

    def read(self, path: str, *, key: str) -> tuple[Reference, TextPin]:
        """The reference at a path, and its pin: DataError, which names the deployment's ``key``."""
        ...

    def read_pinned(self, pin: TextPin) -> Reference:
        """The reference that was pinned: DataError where it is another one by now."""
        ...


class PartitionReader(Protocol):
    """Reads a pinned partition on this machine."""

    def inspect(self, pin: DataPin) -> InputSchema:
        """The columns and row count of a partition, from the footers of its files."""
        ...

    def frame(self, plan: Plan, columns: Collection[str] | None) -> AbstractContextManager[Any]:
        """Yields the partition as a frame for a validator; on exit, checks that no file changed.

        Args:
            plan: the run's plan.
            columns: the columns to read, or None for all.
        """
        ...

    def make_splits(self, pin: DataPin) -> tuple[Split, ...]:
        """Divides the partition into splits."""
        ...
