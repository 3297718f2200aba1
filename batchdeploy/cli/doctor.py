"""Checks what deployments need on this machine, and how to install what is missing."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from batchdeploy.cli.requirements import OPTIONAL, deployments_below, required_checks
from batchdeploy.core.deployment import Deployment
from batchdeploy.core.model_ref import ModelRef
from batchdeploy.core.registry_uris import SQLITE, registry_uris
from batchdeploy.documents import read_deployment
from batchdeploy.errors import shorten
from batchdeploy.host.project_root import find_root
from batchdeploy.host.versions import versions_here
from batchdeploy.redaction import redact

JAVA = (17, 21)
PACKAGES = {
    "pyspark": ("Spark", "spark"),
    "mlflow": ("MLflow", "mlflow"),
    "great_expectations": ("Great Expectations", "gx"),
    "dvc": ("DVC", "dvc"),
    "airflow": ("Airflow", "airflow"),
    "treelite": ("Treelite", "compiled"),
    "onnxruntime": ("ONNX Runtime", "onnx"),
    "obstore": ("obstore", "objects"),
}


@dataclass(frozen=True, slots=True)
class DoctorCheck:
    """The result of one check; ``needed`` if a deployment uses it."""

    name: str
    ok: bool
    found: str
    remedy: str | None = None
    needed: bool = True


def run_checks(folder: Path, deployment: Path | None = None) -> list[DoctorCheck]:
    """Runs all checks; starts nothing but ``java -version``.

    Args:
        folder: the current folder.
        deployment: the deployment to check for. Without one, the deployments in the project's folder and its
            ``dags``; if there are none, everything is considered needed.

    Raises:
        DeploymentError: the deployment cannot be read.
    """
    if deployment is None:
        root = find_root(folder / "here")
        known = dict(deployments_below(root))
    else:
        known = {deployment: read_deployment(deployment)}
        root = find_root(deployment, known[deployment].root)
    needed = set[str]().union(*(required_checks(spec) for spec in known.values()))
    models = [spec.model for spec in known.values()] or [ModelRef(name="any")]
    registries = dict.fromkeys(_registries(root, models))
    connections = dict.fromkeys(_connections(known.values()))
    found = [_python(), _java(), *_packages(), *registries, *connections, _dvc(root)]
    if not known:
        return [finding for finding in found if finding.ok or finding.name not in OPTIONAL]
    return [replace(finding, needed=finding.name in needed) for finding in found]


def _python() -> DoctorCheck:
    return DoctorCheck("Python", sys.version_info >= (3, 11), sys.version.split()[0])


def _java() -> DoctorCheck:
    """The Java that Spark would use: from JAVA_HOME, else the first on the PATH."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java")
    remedy = "sudo apt-get install openjdk-17-jre-headless"
    if java is None or not Path(java).is_file():
        return DoctorCheck("Java", False, "none" if java is None else f"none at {java}", remedy)
    text = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', text)
    number = int(version[1]) if version else 0
    return DoctorCheck(
        "Java", JAVA[0] <= number <= JAVA[1], f"{number} at {java}", None if number in JAVA else remedy
    )


def _packages() -> Iterator[DoctorCheck]:
    for module, (name, extra) in PACKAGES.items():
        remedy = f"pip install 'batchdeploy[{extra}]'"
        if importlib.util.find_spec(module) is None:
            yield DoctorCheck(name, False, "not installed", remedy)
        else:
            package = {"airflow": "apache-airflow", "great_expectations": "great-expectations"}
            version = versions_here([package.get(module, module)])
            yield DoctorCheck(name, True, "".join(version.values()) or "installed")


def _registries(root: Path, models: Iterable[ModelRef]) -> Iterator[DoctorCheck]:
    """Where each model is registered, and the tracking server of those that name one."""
    for model in models:
        uris = registry_uris(model, os.environ, root)
        yield _location("model registry", uris.registry, _registry_setting(model), root)
        if model.tracking is not None:
            yield _location("tracking server", uris.tracking, "model.tracking", root)


def _registry_setting(model: ModelRef) -> str | None:
    """The setting that `registry_uris` takes the registry from; None for the project's ``mlflow.db``."""
    settings = {
        "model.registry": model.registry,
        "MLFLOW_REGISTRY_URI": os.environ.get("MLFLOW_REGISTRY_URI"),
        "model.tracking": model.tracking,
        "MLFLOW_TRACKING_URI": os.environ.get("MLFLOW_TRACKING_URI"),
    }
    return next((name for name, uri in settings.items() if uri), None)


def _location(name: str, uri: str, setting: str | None, root: Path) -> DoctorCheck:
    if setting is None:
        file = root / "mlflow.db"
        if file.is_file():
            return DoctorCheck(name, True, f"{file.name} in the project's root")
        return DoctorCheck(name, False, "none", "register a model, or export MLFLOW_TRACKING_URI=…")
    # A relative path in a variable starts in the current folder, which may be another one for the run.
    if setting.startswith("model.") and uri.startswith(SQLITE):
        exists = Path(uri.removeprefix(SQLITE)).is_file()
        path = redact(uri.removeprefix(SQLITE))
        return DoctorCheck(name, exists, f"{'' if exists else 'none at '}{path} ({setting})")
    return DoctorCheck(name, True, f"{shorten(uri)} ({setting})")


def _connections(deployments: Iterable[Deployment]) -> Iterator[DoctorCheck]:
    """The Airflow Connections that deployments take credentials from, which no command has."""
    for spec in deployments:
        if spec.storage.connection is not None:
            found = f"{spec.storage.connection} is for Airflow's tasks; commands use the environment's own"
            yield DoctorCheck("storage connection", True, found)


def _dvc(root: Path) -> DoctorCheck:
    if (root / ".dvc").is_dir():
        return DoctorCheck("DVC repository", True, str(root))
    return DoctorCheck("DVC repository", False, "none above this folder", "dvc init")
