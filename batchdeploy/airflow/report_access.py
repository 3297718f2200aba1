"""Finds a deployment's control folder from the serialized DAG, and reads files for pages only from there.

Everybody who may edit XComs can write the paths that tasks push. So a page never trusts such a path: it reads
only below the control folder that the DAG itself names.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from re import Pattern
from typing import Any

from batchdeploy.airflow.deployment_source import DeploymentSource, find_source
from batchdeploy.core.layout import Layout
from batchdeploy.errors import BatchdeployError

# A report has some hundred kilobytes; another file must not fill the API server's memory.
MAX_BYTES = 32 * 1024 * 1024


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


def read_within(control: str, path: str, shape: Pattern[str]) -> str | None:
    """The text of a file below a control folder; None if it is missing or not allowed.

    Args:
        control: the control folder.
        path: the requested file; not trusted.
        shape: the pattern that its path in the control folder must match after links are resolved.
    """
    try:
        file = Path(path).parent.resolve() / Path(path).name
        if not shape.fullmatch(file.relative_to(Path(control).resolve()).as_posix()):
            return None
        # NOTE: O_NONBLOCK, because opening a named pipe would block.
        opened = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError, RuntimeError):
        # The path may be too long, hold a zero byte, or contain a link loop.
        return None
    with open(opened, "rb") as stream:
        found = os.fstat(opened)
        # NOTE: a file with a second hard link may be anybody's.
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_size > MAX_BYTES:
            return None
        return stream.read(MAX_BYTES).decode("utf-8", errors="replace")


def _expanded(value: Any) -> list[Any]:
    """The values of ``deployment`` in ``expand`` or ``expand_kwargs`` that are literals in the DAG file."""
    if isinstance(value, dict):
        given = value.get("deployment")
        return list(given) if isinstance(given, list | tuple) else []
    if isinstance(value, list | tuple):
        return [kwargs.get("deployment") for kwargs in value if isinstance(kwargs, dict)]
    return []
