"""The ports that belong to one deployment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from batchdeploy.core.deployment import Deployment
from batchdeploy.core.layout import Layout, run_key
from batchdeploy.core.records import Manifest
from batchdeploy.ports import (
    Engine,
    ModelFetcher,
    ModelRegistry,
    Painter,
    PartitionReader,
    PartitionScorer,
    ReferenceSource,
    Scorer,
    Source,
    TableAccess,
    TextSource,
    Validator,
    Workers,
)
from batchdeploy.stages.resolve import ResolvePorts
from batchdeploy.stages.score import ScorePorts
from batchdeploy.storage.comparison_records import ComparisonRecords
from batchdeploy.storage.run_records import RunRecords


@dataclass(kw_only=True, eq=False)
class Toolbox:
    """The ports of one deployment. Workflows pass them to stages; no stage uses the toolbox itself.

    Attributes:
        partition_scorer: None where workers read their splits themselves.
        root: the folder that the deployment's relative paths start from.
        versions: the versions of Python and of the libraries that scores depend on, on this machine.
    """

    deployment: Deployment
    root: Path
    layout: Layout
    registry: ModelRegistry
    fetcher: ModelFetcher
    source: Source
    texts: TextSource
    references: ReferenceSource
    reader: PartitionReader
    validator: Validator
    engine: Engine
    workers: Workers
    scorer: Scorer
    partition_scorer: PartitionScorer | None
    publishing: TableAccess
    records: RunRecords
    comparisons: ComparisonRecords
    painter: Painter
    versions: dict[str, str]

    def check_packages(self) -> None:
        """Raises MissingPackageError if a package that a run needs is not installed; lists all of them."""

    def own_control(self) -> None:
        """Records whose control folder it is, before something is written to it.

        Raises:
            TableError: it is another deployment's, another table's, or of another version.
        """

    def to_resolve(self) -> ResolvePorts:
        """The ports for `resolve`."""
        return ResolvePorts(
            table=self.publishing.table,
            source=self.source,
            registry=self.registry,
            reader=self.reader,
            texts=self.texts,
            references=self.references,
            validator=None if self.deployment.expectations is None else self.validator,
            find_manifest=partial(find_manifest, self.records),
        )

    def to_score(self) -> ScorePorts:
        """The ports for `score`."""
        return ScorePorts(
            fetcher=self.fetcher,
            source=self.source,
            references=self.references,
            reader=self.reader,
            engine=self.engine,
            workers=self.workers,
            scorer=self.scorer,
            partition_scorer=self.partition_scorer,
            staging=self.publishing.staging,
            evidence=self.publishing.evidence,
            models=self.layout.models,
            versions=self.versions,
        )


def find_manifest(records: RunRecords, folder: str, run_id: str) -> Manifest | None:
    """The manifest of a published run, or None if the control folder does not have it."""
    return records.find(run_key(folder, run_id), Manifest)
