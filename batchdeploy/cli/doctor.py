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
from batchdeploy.documents import read_deployment
from batchdeploy.errors import shorten
from batchdeploy.host.project_root import find_root
from batchdeploy.host.versions import versions_here

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
    registries = [spec.model.registry for spec in known.values()] or [None]
    found = [_python(), _java(), *_packages(), *_registries(root, registries), _dvc(root)]
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


def _registries(root: Path, given: Iterable[str | None]) -> Iterator[DoctorCheck]:
    for uri in dict.fromkeys(given):
        if uri is None:
            yield _registry(root)
        elif not uri.startswith("sqlite:///"):
            yield DoctorCheck("model registry", True, f"{shorten(uri)} (model.registry)")
        else:
            file = root / uri.removeprefix("sqlite:///")
            exists = file.is_file()
            yield DoctorCheck(
                "model registry", exists, f"{'' if exists else 'none at '}{file} (model.registry)"
            )


def _registry(root: Path) -> DoctorCheck:
    for name in ("MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_URI"):
        if uri := os.environ.get(name):
            return DoctorCheck("model registry", True, f"{shorten(uri)} ({name})")
    file = root / "mlflow.db"
    if file.is_file():
        return DoctorCheck("model registry", True, f"{file.name} in the project's root")
    return DoctorCheck("model registry", False, "none", "register a model, or export MLFLOW_TRACKING_URI=…")


def _dvc(root: Path) -> DoctorCheck:
    if (root / ".dvc").is_dir():
        return DoctorCheck("DVC repository", True, str(root))
    return DoctorCheck("DVC repository", False, "none above this folder", "dvc init")
