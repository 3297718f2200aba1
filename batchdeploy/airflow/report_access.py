"""Where a deployment's records lie, as the serialized DAG says it, and the files that a page may read there.

What tasks hand on by XCom can be written by everybody who may edit XComs. So a page never trusts a path from
there: it reads only below the control folder that the DAG itself names.
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

# A report is some hundred kilobytes; a file of another kind must not fill the API server's memory.
MAX_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ControlFolder:
    """The control folder of a deployment; a template field, because Airflow serializes those.

    It is no text, so that Airflow renders no Jinja in it.
    """

    path: str

    @classmethod
    def of(cls, source: DeploymentSource) -> ControlFolder:
        """The control folder of a deployment's output."""
        return cls(str(Layout.of(source.root, source.spec.output).control))

    def serialize(self) -> str:
        """What the serialized DAG holds."""
        return self.path


def control_folders(task: Any, dag_file: str) -> frozenset[str]:
    """The control folders of a task of a serialized DAG; several where it is mapped over deployments.

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
                # A deployment that this machine cannot read names no folder, so nothing of it is shown.
                continue
    return frozenset(folders)


def read_within(control: str, path: str, shape: Pattern[str]) -> str | None:
    """A text file below a control folder; None where it is not there, or is not what it should be.

    Args:
        control: the control folder.
        path: the file, as somebody named it; nothing is trusted of it.
        shape: what its path inside the control folder must look like, after links are followed.
    """
    try:
        file = Path(path).parent.resolve() / Path(path).name
        if not shape.fullmatch(file.relative_to(Path(control).resolve()).as_posix()):
            return None
        # NOTE: not blocking, because a named pipe would be waited for.
        opened = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError, RuntimeError):
        # A path may be too long, hold a zero byte, or lead round in a circle.
        return None
    with open(opened, "rb") as stream:
        found = os.fstat(opened)
        # NOTE: a file with a second name may be anybody's.
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_size > MAX_BYTES:
            return None
        return stream.read(MAX_BYTES).decode("utf-8", errors="replace")


def _expanded(value: Any) -> list[Any]:
    """What ``expand`` or ``expand_kwargs`` give for ``deployment``, as far as the DAG file says it."""
    if isinstance(value, dict):
        given = value.get("deployment")
        return list(given) if isinstance(given, list | tuple) else []
    if isinstance(value, list | tuple):
        return [kwargs.get("deployment") for kwargs in value if isinstance(kwargs, dict)]
    return []
