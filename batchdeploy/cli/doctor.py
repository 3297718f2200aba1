"""What a machine has of all that a deployment may need, and what to type where something is missing."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from batchdeploy.errors import shorten
from batchdeploy.roots import find_root

JAVA = (17, 21)
PACKAGES = {
    "pyspark": ("Spark", "spark"),
    "mlflow": ("MLflow", "mlflow"),
    "great_expectations": ("Great Expectations", "gx"),
    "dvc": ("DVC", "dvc"),
    "airflow": ("Airflow", "airflow"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked for."""

    name: str
    ok: bool
    found: str
    remedy: str | None = None


def examine(folder: Path) -> list[Finding]:
    """Looks for everything; nothing is started but ``java -version``."""
    root = find_root(folder / "here")
    return [_python(), _java(), *_packages(), _registry(root), _dvc(root)]


def _python() -> Finding:
    return Finding("Python", sys.version_info >= (3, 11), sys.version.split()[0])


def _java() -> Finding:
    """The Java that Spark would take: that of JAVA_HOME, else the first on the PATH."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java")
    remedy = "sudo apt-get install openjdk-17-jre-headless"
    if java is None or not Path(java).is_file():
        return Finding("Java", False, "none" if java is None else f"none at {java}", remedy)
    text = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', text)
    number = int(version[1]) if version else 0
    return Finding(
        "Java", JAVA[0] <= number <= JAVA[1], f"{number} at {java}", None if number in JAVA else remedy
    )


def _packages() -> Iterator[Finding]:
    for module, (name, extra) in PACKAGES.items():
        remedy = f"pip install 'batchdeploy[{extra}]'"
        if importlib.util.find_spec(module) is None:
            yield Finding(name, False, "not installed", remedy)
        else:
            distribution = {"airflow": "apache-airflow", "great_expectations": "great-expectations"}
            yield Finding(name, True, metadata.version(distribution.get(module, module)))


def _registry(root: Path) -> Finding:
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        return Finding("model registry", True, f"{shorten(uri)} (MLFLOW_TRACKING_URI)")
    file = root / "mlflow.db"
    if file.is_file():
        return Finding("model registry", True, f"{file.name} in the project's root")
    return Finding("model registry", False, "none", "register a model, or export MLFLOW_TRACKING_URI=…")


def _dvc(root: Path) -> Finding:
    if (root / ".dvc").is_dir():
        return Finding("DVC repository", True, str(root))
    return Finding("DVC repository", False, "none above this folder", "dvc init")
