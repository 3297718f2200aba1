"""A deployment with everything that answers for it, in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from batchdeploy.core.deployment import DataRef, Deployment, ModelRef, OutputRef, PartitionSpec
from batchdeploy.core.layout import Layout
from batchdeploy.core.records import Column
from batchdeploy.ports import TableAccess
from batchdeploy.storage.comparison_records import ComparisonRecords
from batchdeploy.storage.reference_profiles import ReferenceProfiles
from batchdeploy.storage.run_records import RunRecords
from batchdeploy.workflows.toolbox import Toolbox
from fakes.engine import FakeEngine
from fakes.evidence import FakeEvidence, FakePainter
from fakes.registry import FakeModel, FakeRegistry
from fakes.scoring import FakeRows, FakeScoring
from fakes.source import FakeSource
from fakes.staging import FakeStaging
from fakes.storage import FakeStorage
from fakes.table import FakeClaims, FakeMaintenance, FakeTable
from fakes.texts import FakeTexts
from fakes.validator import FakeValidator

ROOT = Path("/memory")
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


class FakeToolbox(Toolbox):
    """All ports of one deployment, each a fake that tests can reach into."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.root = ROOT
        self.layout = Layout.of(self.root, deployment.output)
        self.registry: FakeRegistry = FakeRegistry()
        self.fetcher: FakeRegistry = self.registry
        self.source: FakeSource = FakeSource()
        self.texts: FakeTexts = FakeTexts()
        self.references = ReferenceProfiles(self.texts)
        self.engine: FakeEngine = FakeEngine()
        self.workers: FakeEngine = self.engine
        self.validator: FakeValidator = FakeValidator()
        self.storage = FakeStorage()
        self.records = RunRecords(self.storage)
        self.comparisons = ComparisonRecords(self.storage)
        self.staging: FakeStaging = FakeStaging()
        self.table: FakeTable = FakeTable(self.staging, self.storage)
        self.maintenance: FakeMaintenance = FakeMaintenance(self.staging, self.table)
        self.evidence: FakeEvidence = FakeEvidence(self.staging, self.storage)
        self.publishing = TableAccess(
            staging=self.staging,
            table=self.table,
            publisher=self.table,
            claims=FakeClaims(),
            maintenance=self.maintenance,
            evidence=self.evidence,
        )
        self.painter: FakePainter = FakePainter()
        self.versions = {"python": "3.11.0"}
        self.reader: FakeRows = FakeRows(self.source)
        self.partition_scorer = None
        self.scorer: FakeScoring = FakeScoring(self.reader, self.staging, self.registry.load)


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
        tools.source.put("data", day, *rows(day))
    return tools
