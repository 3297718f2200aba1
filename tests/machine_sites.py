"""What a machine is given to score with: deployments, suite and reference. Rows and models lie in servers."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from object_stores import Bucket
from ruamel.yaml import YAML


def bundle(project: Path, root: Path, lake: Bucket, registry: str, *, names: Sequence[str]) -> Path:
    """A folder as a DAG bundle or a checkout has it; stores the project's rows in the lake.

    Args:
        project: a copy of the small project.
        root: the folder to make.
        lake: where rows, scores and records lie.
        registry: the URI of an MLflow server with the model.
        names: of the deployments, each with a table of its own.
    """
    data = project / "data" / "customers"
    for file in sorted(data.rglob("*.parquet")):
        lake.put(f"lake/{file.relative_to(data)}", file.read_bytes())
    for name in ("expectations", "data/reference"):
        shutil.copytree(project / name, root / name)
    shutil.copy(project / "dvc.yaml", root)
    (root / "dags").mkdir()
    yaml = YAML()
    for name in names:
        document = yaml.load(project / "dags" / "churn.yaml")
        document["name"] = name
        document["model"]["registry"] = registry
        document["data"]["path"] = f"{lake.uri}/lake"
        document["data"]["partition"]["end"] = "2024-12-31"
        document["output"] |= {"path": f"{lake.uri}/{name}", "control": f"{lake.uri}/{name}.batchdeploy"}
        document["publish"] = {"mode": "pointer"}
        document["storage"] = {"endpoint": lake.storage.endpoint}
        if lake.storage.region is not None:
            document["storage"]["region"] = lake.storage.region
        yaml.dump(document, root / "dags" / f"{name}.yaml")
    return root
