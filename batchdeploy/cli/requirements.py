"""What a deployment needs of a machine: named as `doctor` names it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from batchdeploy.core.deployment import Deployment
from batchdeploy.documents import read_deployment
from batchdeploy.errors import DeploymentError

# NOTE: what a deployment uses only sometimes; told where nothing is known of it.
OPTIONAL = {"Treelite", "ONNX Runtime", "obstore"}


def required_checks(deployment: Deployment) -> set[str]:
    """The names of what one deployment uses; Airflow is never among them, for nothing here runs it."""
    needed = {"Python", "MLflow", "model registry"}
    if deployment.engine.kind == "spark":
        needed |= {"Spark"} if deployment.engine.remote else {"Spark", "Java"}
    if deployment.expectations is not None:
        needed.add("Great Expectations")
    if deployment.data.rev is not None:
        needed |= {"DVC", "DVC repository"}
    if deployment.publish.mode == "pointer":
        needed.add("obstore")
    return (
        needed
        | {
            "native": set[str](),
            "compiled": {"Treelite"},
            "onnx": {"ONNX Runtime"},
        }[deployment.model.runtime]
    )


def deployments_below(folder: Path) -> Iterator[tuple[Path, Deployment]]:
    """The deployments that a project's folder and its ``dags`` hold; other YAML files are none of ours."""
    for file in sorted([*folder.glob("*.yaml"), *folder.glob("dags/*.yaml")]):
        try:
            yield file, read_deployment(file)
        except DeploymentError:
            continue
