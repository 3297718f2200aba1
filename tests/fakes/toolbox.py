"""A deployment with everything that answers for it, in memory."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from batchdeploy.core.deployment import DataRef, Deployment, ModelRef, OutputRef, PartitionSpec
from batchdeploy.core.layout import Layout
from batchdeploy.core.records import Column, DataPin, InputSchema, Plan
from batchdeploy.core.work import ScoreJob, Split, SplitResult
from batchdeploy.ports import Toolbox, Work
from batchdeploy.storage.run_records import RunRecords
from fakes.engine import FakeEngine
from fakes.evidence import FakeEvidence, FakePainter
from fakes.registry import FakeModel, FakeRegistry
from fakes.scoring import FakeRows, FakeScoring
from fakes.source import FakeSource
from fakes.staging import FakeStaging
from fakes.storage import FakeStorage
from fakes.table import FakeClaims, FakeMaintenance, FakeTable
from fakes.validator import FakeValidator

DAYS = ("2024-01-01", "2024-01-02", "2024-01-03")
DEPLOYMENT = Deployment(
    name="doubling",
    model=ModelRef(name="doubles"),
    data=DataRef(path="data", partition=PartitionSpec(column="date"), keys=("id",)),
    output=OutputRef(path="scores", columns={"y": "double"}),
)


def doubles(frame: Any) -> Any:
    """The model that is registered as version 1: twice the input."""
    return (frame[["x"]] * 2).set_axis(["y"], axis=1)


def triples(frame: Any) -> Any:
    """The model that is registered as version 2."""
    return (frame[["x"]] * 3).set_axis(["y"], axis=1)


def rows(day: str, *, files: int = 2, count: int = 3) -> tuple[Any, ...]:
    """A day's tables, with ``count`` rows each; the inputs are 0, 1, 2, ..."""
    return tuple(
        pa.table(
            {
                "id": pa.array([f"{day}/{file}/{i}" for i in range(count)], pa.string()),
                "x": pa.array([float(file * count + i) for i in range(count)], pa.float64()),
            }
        )
        for file in range(files)
    )


class FakeToolbox:
    """All ports of one deployment, each a fake that tests can reach into."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.root = Path("/memory")
        self.layout = Layout.of(self.root, deployment.output)
        self.registry = FakeRegistry()
        self.store = FakeSource()
        self.engine = FakeEngine()
        self.validator = FakeValidator()
        self.storage = FakeStorage()
        self.records = RunRecords(self.storage)
        self.staging = FakeStaging()
        self.table = self.publisher = FakeTable(self.staging, self.storage)
        self.claims = FakeClaims()
        self.maintenance = FakeMaintenance(self.staging, self.table)
        self.evidence = FakeEvidence(self.staging, self.storage)
        self.painter = FakePainter()
        self.versions = {"python": "3.11.0"}
        self.rows = FakeRows(self.store)
        self.scoring = FakeScoring(self.rows, self.staging, self.registry.load)

    def check_packages(self) -> None:
        """Nothing is missing."""

    def inspect(self, pin: DataPin) -> InputSchema:
        """Columns and rows of a partition's tables."""
        return self.rows.inspect(pin)

    def frame(self, plan: Plan, columns: Collection[str] | None) -> AbstractContextManager[Any]:
        """Yields the partition as a pandas frame."""
        return self.rows.frame(plan, columns)

    def make_splits(self, pin: DataPin) -> tuple[Split, ...]:
        """One split for each table."""
        return self.rows.make_splits(pin)

    def find_duplicates(
        self, job: ScoreJob, splits: Sequence[Split], results: Sequence[SplitResult]
    ) -> tuple[Split, ...]:
        """The splits with rows whose keys are not unique in the partition."""
        return self.scoring.find_duplicates(job, splits, results)

    def prepare(self, job: ScoreJob, model: Path, splits: Sequence[Split]) -> ScoreJob:
        """The job itself."""
        return self.scoring.prepare(job, model, splits)

    def worker(self, job: ScoreJob) -> Work:
        """The function that scores one split."""
        return self.scoring.worker(job)


def make_tools(**changes: Any) -> FakeToolbox:
    """A toolbox with three days of six rows, and two versions of a model.

    Args:
        changes: fields of the deployment that are not as usual.
    """
    tools = FakeToolbox(replace(DEPLOYMENT, **changes))
    column = Column(name="x", type="double")
    model = FakeModel(predict=doubles, inputs=(column,), outputs=(replace(column, name="y"),))
    tools.registry.register("doubles", model, "champion")
    tools.registry.register("doubles", replace(model, predict=triples, content="3"), "challenger")
    for day in DAYS:
        tools.store.put("data", day, *rows(day))
    return tools


def as_toolbox(tools: FakeToolbox) -> Toolbox:
    """The same; mypy holds every fake to its port here."""
    return tools
