"""Finds a deployment file relative to the DAG file that names it, also inside a DAG bundle."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchdeploy.core.deployment import Deployment
from batchdeploy.documents import read_deployment
from batchdeploy.errors import DeploymentError
from batchdeploy.host.project_root import find_root, refuse_lost_output

OURS = str(Path(__file__).parent)


@dataclass(frozen=True, slots=True)
class DeploymentSource:
    """A deployment, its file, the DAG file that names it, and the project's root."""

    file: Path
    spec: Deployment
    caller: Path
    root: Path


def find_source(deployment: str | DeploymentSource, dag: Any = None) -> DeploymentSource:
    """Reads the deployment; a relative path starts at the folder of the DAG's own file.

    Args:
        deployment: the path, or a deployment that was read before.
        dag: the task's DAG if there is one; a mapped task is created when it runs.

    Raises:
        DeploymentError: the file is missing or wrong, with line and column, or its scores would be stored in
            a DAG bundle's checkout; Airflow shows it as the import error of that DAG file alone.
    """
    from airflow.dag_processing.bundles.base import get_bundle_storage_root_path

    if isinstance(deployment, DeploymentSource):
        return deployment
    caller = _dag_file(deployment, dag)
    file = (caller.parent / deployment).resolve()
    if not file.exists():
        hint = f"relative paths start at the DAG file's folder, {caller.parent}"
        raise DeploymentError(str(file), "no such file", hint=hint)
    spec = read_deployment(file)
    # Airflow's configuration file may set the bundle folder, and only this door reads it.
    storage = get_bundle_storage_root_path()
    root = find_root(file, spec.root, storage=storage)
    refuse_lost_output(file, spec, root, storage=storage)
    return DeploymentSource(file, spec, caller, root)


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
