"""The checks of `doctor` that a deployment requires."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from batchdeploy.core.deployment import Deployment
from batchdeploy.documents import read_deployment
from batchdeploy.errors import DeploymentError

# Used by few deployments; not reported as missing if no deployment is known.
OPTIONAL = {"Treelite", "ONNX Runtime", "obstore"}


def required_checks(deployment: Deployment) -> set[str]:
    """The names of the checks that one deployment requires; never Airflow, which no command runs."""
    needed = {"Python", "MLflow", "model registry"}
    if deployment.engine.kind == "spark":
        needed |= {"Spark"} if deployment.engine.remote else {"Spark", "Java"}
    if deployment.expectations is not None:
        needed.add("Great Expectations")
    if deployment.data.dvc_rev is not None or deployment.data.fetch:
        needed |= {"DVC", "DVC repository"}
    if deployment.publish.mode == "pointer":
        needed.add("obstore")
    if deployment.storage.connection is not None:
        needed.add("storage connection")
    if deployment.model.tracking is not None:
        needed.add("tracking server")
    return (
        needed
        | {
            "native": set[str](),
            "compiled": {"Treelite"},
            "onnx": {"ONNX Runtime"},
        }[deployment.model.runtime]
    )


def deployments_below(folder: Path) -> Iterator[tuple[Path, Deployment]]:
    """The deployments in a project's folder and its ``dags``; other YAML files are skipped."""
    for file in sorted([*folder.glob("*.yaml"), *folder.glob("dags/*.yaml")]):
        try:
            yield file, read_deployment(file)
        except DeploymentError:
            continue
