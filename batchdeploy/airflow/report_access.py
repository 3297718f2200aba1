"""Finds a deployment's control folder from the serialized DAG, and reads files for pages only from there.

Everybody who may edit XComs can write the paths that tasks push. So a page never trusts such a path: it reads
only below the control folder that the DAG itself names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchdeploy.airflow.deployment_source import DeploymentSource, find_source
from batchdeploy.core.layout import Layout
from batchdeploy.errors import BatchdeployError
from batchdeploy.storage.guarded_folder import GuardedFolder


@dataclass(frozen=True, slots=True)
class ControlFolder:
    """The control folder of a deployment. A template field of operators, because Airflow serializes those.

    It is not a string, so that Airflow renders no Jinja in it.
    """

    path: str

    @classmethod
    def of(cls, source: DeploymentSource) -> ControlFolder:
        """The control folder of a deployment's output."""
        return cls(str(Layout.of(source.root, source.spec.output).control))

    def serialize(self) -> str:
        """The value in the serialized DAG."""
        return self.path


def control_folders(task: Any, dag_file: str) -> frozenset[str]:
    """The control folders of a serialized task; several if it is mapped over deployments.

    Args:
        task: the serialized operator.
        dag_file: the DAG's file; a mapped task's deployments are read relative to it.
    """
    if not task.is_mapped:
        control = getattr(task, "control", None)
        return frozenset({control} if isinstance(control, str) else ())
    folders = set()
    for name in (task.partial_kwargs.get("deployment"), *_expanded(task.expand_input.value)):
        if isinstance(name, str):
            file = (Path(dag_file).parent / name).resolve()
            try:
                folders.add(ControlFolder.of(find_source(str(file))).path)
            except BatchdeployError:
                # If this machine cannot read the deployment, its reports are not shown.
                continue
    return frozenset(folders)


def find_key(control: str, path: str, allowed: Callable[[str], bool]) -> str | None:
    """The key of a file below a control folder; None if it is elsewhere or not allowed.

    Args:
        control: the control folder.
        path: the requested file; not trusted.
        allowed: whether a key, after links are resolved, may be read.
    """
    try:
        file = Path(path).parent.resolve() / Path(path).name
        key = file.relative_to(Path(control).resolve()).as_posix()
    except (OSError, ValueError, RuntimeError):
        # The path may be too long, hold a zero byte, or contain a link loop.
        return None
    return key if allowed(key) else None


def open_folder(control: str) -> GuardedFolder:
    """Reads what may be shown of a control folder."""
    return GuardedFolder(Path(control).resolve())


def _expanded(value: Any) -> list[Any]:
    """The values of ``deployment`` in ``expand`` or ``expand_kwargs`` that are literals in the DAG file."""
    if isinstance(value, dict):
        given = value.get("deployment")
        return list(given) if isinstance(given, list | tuple) else []
    if isinstance(value, list | tuple):
        return [kwargs.get("deployment") for kwargs in value if isinstance(kwargs, dict)]
    return []
