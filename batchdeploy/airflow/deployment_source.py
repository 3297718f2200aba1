"""Finds a deployment file relative to the DAG file that names it, also inside a DAG bundle."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchdeploy.core.deployment import Deployment
from batchdeploy.documents import read_deployment
from batchdeploy.documents.yaml_files import deployment_references
from batchdeploy.errors import DeploymentError, Problem
from batchdeploy.host.project_root import find_root, refuse_lost_output
from batchdeploy.redaction import REFERENCE

OURS = str(Path(__file__).parent)
# The keys that a DAG is made of: its id, owner and schedule, and where its files are.
NEEDED_AT_PARSE = {("name",), ("owner",), ("root",), ("data", "partition")}


@dataclass(frozen=True, slots=True)
class DeploymentSource:
    """A deployment, its file, the DAG file that names it, and the project's root.

    Attributes:
        environment: the name of the environment whose Airflow Variable has values for the deployment; None
            takes them from the process's environment only.
    """

    file: Path
    spec: Deployment
    caller: Path
    root: Path
    environment: str | None = None


def find_source(
    deployment: str | DeploymentSource, dag: Any = None, environment: str | None = None
) -> DeploymentSource:
    """Reads the deployment; a relative path starts at the folder of the DAG's own file.

    Args:
        deployment: the path, or a deployment that was read before.
        dag: the task's DAG if there is one; a mapped task is created when it runs.
        environment: the environment of a deployment that is read here.

    Raises:
        DeploymentError: the file is missing or wrong, with line and column, its scores would be stored in a
            DAG bundle's checkout, or a key that the DAG is made of needs a variable that is not set. Airflow
            shows it as the import error of that DAG file alone.
    """
    from airflow.dag_processing.bundles.base import get_bundle_storage_root_path

    if isinstance(deployment, DeploymentSource):
        return deployment
    caller = _dag_file(deployment, dag)
    file = (caller.parent / deployment).resolve()
    if not file.exists():
        hint = f"relative paths start at the DAG file's folder, {caller.parent}"
        raise DeploymentError(str(file), "no such file", hint=hint)
    if environment is None:
        spec = read_deployment(file)
    else:
        _refuse_unset(file, check_environment(environment))
        spec = read_deployment(file, EnvironmentAtParse(file))
    # Airflow's configuration file may set the bundle folder, and only this door reads it.
    storage = get_bundle_storage_root_path()
    root = find_root(file, spec.root, storage=storage)
    if not REFERENCE.search(spec.output.path):
        refuse_lost_output(file, spec, root, storage=storage)
    return DeploymentSource(file, spec, caller, root, environment)


class EnvironmentAtParse(Mapping[str, str]):
    """The variables of this process where the values of an Airflow Variable are not known yet.

    A variable of the deployment that is not set stands for itself, ``${NAME}``. Where only keys name it that
    the DAG does not depend on, and with a default, its default is used.
    """

    def __init__(self, file: Path) -> None:
        kept = {}
        for path, names in deployment_references(file).items():
            for name, default in names:
                if default is None or path[0] == "output":
                    kept[name] = f"${{{name}}}" if default is None else f"${{{name}:-{default}}}"
        self._values = kept | {name: value for name, value in os.environ.items() if value}

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def check_environment(name: str) -> str:
    """The name of an environment.

    Raises:
        DeploymentError: it cannot be part of an Airflow Variable's name.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", name):
        problem = Problem("environment", "must consist of letters, digits, _ . and -", repr(name))
        raise DeploymentError("the DAG file", (problem,))
    return name


def _refuse_unset(file: Path, environment: str) -> None:
    """Raises if the DAG itself depends on a variable that is known only when a task runs."""
    problems = tuple(
        Problem(".".join(path), f"needs {name}, which is not set where Airflow parses DAG files")
        for path, names in deployment_references(file).items()
        for name, default in names
        if path[:1] in NEEDED_AT_PARSE or path[:2] in NEEDED_AT_PARSE
        if default is None and not os.environ.get(name)
    )
    if problems:
        hint = f"only tasks read the Variable of environment {environment}; set it there, or give a default"
        raise DeploymentError(str(file), problems, hint=hint)


def _dag_file(deployment: str, dag: Any) -> Path:
    """The DAG's own file, also if a module that several DAG files share makes the call."""
    from airflow.sdk.definitions._internal.contextmanager import DagContext

    # Airflow sets this path on parsing; then `fileloc` is right, too.
    if getattr(dag, "relative_fileloc", None) is not None:
        return Path(dag.fileloc).resolve()
    parsed = sys.modules.get(DagContext.current_autoregister_module_name or "")
    if (file := getattr(parsed, "__file__", None)) is not None:
        return Path(file).resolve()
    # Plain Python runs the DAG file, or something else, such as a test, calls a function in it.
    files = _calling_files()
    return next((file for file in files if (file.parent / deployment).exists()), files[0])


def _calling_files() -> list[Path]:
    """The file whose top level is running, then the calling file; skips files of batchdeploy and Airflow."""
    import airflow

    inside = (OURS, str(Path(airflow.__file__ or "").parent))
    frame = inspect.currentframe()
    outside = []
    while frame is not None:
        if not frame.f_code.co_filename.startswith(inside):
            outside.append(frame.f_code)
        frame = frame.f_back
    top_level = [code for code in outside if code.co_name == "<module>"]
    return [Path(code.co_filename).resolve() for code in (*top_level[:1], *outside[:1])]
