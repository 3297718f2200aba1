"""What a task read and wrote, for Airflow's OpenLineage provider, if that is installed.

Datasets are named as OpenLineage names them: https://openlineage.io/docs/spec/naming
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from batchdeploy.core.deployment import Deployment

Part = Literal["data", "model", "scores"]
# OpenLineage has one scheme for each kind of store.
SCHEMES = {"s3a": "s3", "abfs": "abfss"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageDataset:
    """A dataset: the namespace and the name that identify it, and its version if it has one."""

    namespace: str
    name: str
    version: str | None = None


class LineageOperator:
    """Mixin of operators that tell OpenLineage which data, model and table they use.

    The provider calls it in the task's process after the step. Assets alone would not do: it converts only
    those of stores whose Airflow provider is installed, and no asset stands for a model.
    """

    reads: ClassVar[tuple[Part, ...]] = ()
    writes: ClassVar[tuple[Part, ...]] = ()
    spec: Deployment
    root: Path
    pinned_model: tuple[str, int] | None
    registry_page: str | None

    def lineage(self, part: Part) -> LineageDataset:
        """One dataset of the deployment."""
        if part != "model":
            path = self.spec.data.path if part == "data" else self.spec.output.path
            kind = self.spec.data.format
            if part == "data" and kind in ("catalog", "iceberg") and "/" not in path:
                # A table of a catalog; where its files are is known to the catalog only.
                return LineageDataset(namespace=kind, name=path)
            return name_dataset(path, self.root)
        name, version = self.pinned_model or (self.spec.model.name, None)
        registry = self.registry_page or "mlflow"
        return LineageDataset(
            namespace=registry, name=f"models/{name}", version=None if version is None else str(version)
        )

    def get_openlineage_facets_on_complete(self, _task_instance: Any) -> Any:
        """The step's inputs and outputs; the name is the provider's."""
        from airflow.providers.openlineage.extractors import OperatorLineage

        return OperatorLineage(
            inputs=[_dataset(self.lineage(part)) for part in self.reads],
            outputs=[_dataset(self.lineage(part)) for part in self.writes],
        )


def name_dataset(path: str, root: Path) -> LineageDataset:
    """A folder, an object store's URI or a catalog's table as OpenLineage names it.

    Args:
        path: as in the deployment; a relative path starts at the project's root.
        root: the project's root.
    """
    parts = urlsplit(path)
    if parts.scheme in ("", "file"):
        return LineageDataset(namespace="file", name=str(root / (parts.path or path)))
    scheme = SCHEMES.get(parts.scheme, parts.scheme)
    return LineageDataset(namespace=f"{scheme}://{parts.netloc}", name=parts.path.strip("/") or "/")


def _dataset(found: LineageDataset) -> Any:
    from openlineage.client.event_v2 import Dataset
    from openlineage.client.facet_v2 import dataset_version_dataset

    facets: dict[str, Any] = {}
    if found.version is not None:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=found.version)
    return Dataset(namespace=found.namespace, name=found.name, facets=facets)
