"""A deployment file as a DAG file names it: beside the file that calls, wherever a DAG bundle put both."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path

from batchdeploy.core.deployment import Deployment
from batchdeploy.documents import read_deployment
from batchdeploy.roots import find_root, refuse_lost_output

OURS = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Source:
    """A deployment, its file, the DAG file that named it, and the root that its paths start from."""

    file: Path
    spec: Deployment
    caller: Path
    root: Path


def find_source(deployment: str | Source) -> Source:
    """Reads the deployment; a relative path starts at the DAG file's folder.

    Raises:
        DeploymentError: the file is missing or wrong, with line and column, or its scores would lie in a
            DAG bundle's checkout; Airflow shows it as the import error of that DAG file alone.
    """
    from airflow.dag_processing.bundles.base import get_bundle_storage_root_path

    if isinstance(deployment, Source):
        return deployment
    caller = _calling_file()
    file = (caller.parent / deployment).resolve()
    spec = read_deployment(file)
    # NOTE: Airflow's configuration may say it in a file, which other doors do not read.
    storage = get_bundle_storage_root_path()
    root = find_root(file, spec.root, storage=storage)
    refuse_lost_output(file, spec, root, storage=storage)
    return Source(file, spec, caller, root)


def _calling_file() -> Path:
    """The first file up the stack that is neither of this package nor Airflow's own."""
    import airflow.sdk

    inside = (str(OURS), str(Path(airflow.sdk.__file__ or "").parent))
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(inside):
        frame = frame.f_back
    return Path(frame.f_code.co_filename if frame is not None else ".").resolve()
