"""A protocol for each thing outside. Stages speak to these; `batchdeploy.assembly` chooses who answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from batchdeploy.core.deployment import DataRef, Deployment, ModelRef
from batchdeploy.core.layout import Layout
from batchdeploy.core.maintenance import CleanupReport
from batchdeploy.core.profiles import ColumnProfile
from batchdeploy.core.records import (
    DataPin,
    DriftReport,
    ExpectationResult,
    InputSchema,
    ModelPin,
    OutputFile,
    Plan,
    ScoredBatch,
)
from batchdeploy.core.tables import TableRecord
from batchdeploy.core.work import ScoreJob, Split, SplitResult
from batchdeploy.errors import Problem

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

    def settle(self, pin: ModelPin, models: Path) -> None:
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


class Store(Protocol):
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
        """A picklable function: what `ship` gave to where it is on a worker."""
        ...

    def versions(self, names: Sequence[str]) -> tuple[tuple[str, dict[str, str]], ...]:
        """Versions of these packages (and of ``python``) on each worker, by its name."""
        ...

    def ship(self, folder: Path) -> str:
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


class Sink(Protocol):
    """Where scores are published."""

    def published_run(self, folder: str) -> str | None:
        """The run whose scores are visible in a partition's folder, or None."""
        ...

    def published(self) -> tuple[str, ...]:
        """The folder names of all partitions that are visible."""
        ...

    def files(self, folder: str) -> tuple[str, ...]:
        """Where a partition's visible files are: paths or URIs."""
        ...

    def table(self) -> TableRecord | None:
        """Whose table it is and what its rows hold; None where nothing is published."""
        ...

    def attempt_of(self, folder: str) -> str | None:
        """What tells a partition's visible files from those of any other try at the same run."""
        ...

    def recover(self, *, now: float) -> CleanupReport:
        """Finishes what killed runs had decided, and removes what they left."""
        ...

    def collect_garbage(self, *, now: float) -> CleanupReport:
        """All of `recover`, and everything beyond the retention."""
        ...

    def generations(self, folder: str) -> tuple[str, ...]:
        """The run ids of a partition's earlier generations, the last published first."""
        ...

    def roll_back(self, folder: str, *, to: str | None, expected_run: str | None, at: str) -> str:
        """Makes an earlier generation the visible one again; gives its run id."""
        ...

    def hand_over(self, attempt: str) -> None:
        """Lets another process go on with an attempt after this one has ended."""
        ...

    def stage(self, run_id: str) -> Path:
        """A new private staging folder; its name is the attempt's."""
        ...

    def collect(
        self, attempt: Path, run_id: str, results: Sequence[SplitResult]
    ) -> tuple[tuple[OutputFile, ...], tuple[OutputFile, ...]]:
        """The workers' files under their final names: (scored, quarantine)."""
        ...

    def discard(self, attempt: str) -> None:
        """Removes an attempt's staging folder."""
        ...

    def publish(self, plan: Plan, scored: ScoredBatch, manifest: Callable[[], tuple[str, str]]) -> str:
        """Makes staged scores visible, atomically; gives the manifest's JSON."""
        ...

    def claim(self, folder: str, holder: str, *, expected_holder: str | None = None) -> str:
        """Takes a partition for one run; gives who holds it then."""
        ...

    def release(self, folder: str, holder: str) -> None:
        """Gives a claimed partition back."""
        ...

    def staged(self, scored: ScoredBatch) -> Any:
        """The scores in staging as a pandas frame."""
        ...

    def keep_output(self, plan: Plan, attempt: str) -> None:
        """Keeps what the model printed with the run's records."""
        ...

    def keep_quarantine(self, plan: Plan, attempt: str) -> None:
        """Keeps the rows that a refused attempt quarantined."""
        ...

    def begin_evidence(self, plan: Plan) -> None:
        """Has the run's folder show the evidence of a new attempt, unless the run was published."""
        ...

    def update_evidence(self, plan: Plan) -> None:
        """Has the run's folder show all that an attempt has by now, where it shows that attempt's."""
        ...

    def write_drift(self, plan: Plan, report: DriftReport) -> None:
        """The attempt's rows of the drift table."""
        ...


class Painter(Protocol):
    """What draws the report's pictures, each as one inline SVG."""

    def distribution(self, reference: ColumnProfile, current: ColumnProfile) -> str:
        """Both distributions side by side."""
        ...

    def overview(self, report: DriftReport) -> str:
        """Each column's PSI against its limit."""
        ...


class Toolbox(Protocol):
    """One deployment and everything that answers for it."""

    deployment: Deployment

    @property
    def root(self) -> Path: ...

    @property
    def layout(self) -> Layout: ...
    @property
    def registry(self) -> Registry: ...
    @property
    def store(self) -> Store: ...
    @property
    def engine(self) -> Engine: ...
    @property
    def validator(self) -> Validator: ...
    @property
    def sink(self) -> Sink: ...
    @property
    def painter(self) -> Painter: ...
    @property
    def versions(self) -> dict[str, str]: ...

    def check_packages(self) -> None:
        """Looks whether all is installed that a run needs: MissingPackageError with all that is not."""
        ...

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

    def find_duplicates(
        self, job: ScoreJob, splits: Sequence[Split], results: Sequence[SplitResult]
    ) -> tuple[Split, ...]:
        """The splits with rows whose keys are not unique in the partition, with those rows named."""
        ...

    def prepare(self, job: ScoreJob, model: Path, splits: Sequence[Split]) -> ScoreJob:
        """The job with what the deployment's ``model.runtime`` needs, made and proved."""
        ...

    def worker(self, job: ScoreJob) -> Work:
        """The picklable function that scores one split."""
        ...
