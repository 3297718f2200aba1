"""Finds a deployment's control folder from the serialized DAG, and reads files for pages only from there.

Everybody who may edit XComs can write the paths that tasks push. So a page never trusts such a path: it reads
only below the control folder that the DAG itself names.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from batchdeploy.airflow.deployment_source import DeploymentSource, find_source
from batchdeploy.core.layout import Layout
from batchdeploy.core.locations import is_uri
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.errors import BatchdeployError
from batchdeploy.storage.guarded_folder import GuardedFolder
from batchdeploy.storage.guarded_store import GuardedStore
from batchdeploy.storage.interface import Storage
from batchdeploy.storage.opening import open_location


@dataclass(frozen=True, slots=True)
class ControlFolder:
    """The control folder of a deployment. A template field of operators, because Airflow serializes those.

    It is not a string, so that Airflow renders no Jinja in it.

    Attributes:
        path: its path, or its URI in an object store.
        stores: how that store is reached.
    """

    path: str
    stores: StorageSpec = StorageSpec()

    @classmethod
    def of(cls, source: DeploymentSource) -> ControlFolder:
        """The control folder of a deployment's output."""
        layout = Layout.of(source.root, source.spec.output)
        stores = StorageSpec() if layout.control_uri is None else source.spec.storage
        return cls(layout.control_target, stores)

    @classmethod
    def parse(cls, text: str) -> ControlFolder | None:
        """The control folder in a serialized DAG; None if the text is something else."""
        if not text.startswith("{"):
            return cls(text)
        with suppress(ValueError, TypeError, KeyError):
            document = json.loads(text)
            return cls(str(document["uri"]), StorageSpec(**document["storage"]))
        return None

    def serialize(self) -> str:
        """The value in the serialized DAG: a path, or JSON with the URI and the store's settings."""
        if not is_uri(self.path):
            return self.path
        return json.dumps({"uri": self.path, "storage": asdict(self.stores)})


def control_folders(task: Any, dag_file: str) -> frozenset[ControlFolder]:
    """The control folders of a serialized task; several if it is mapped over deployments.

    Args:
        task: the serialized operator.
        dag_file: the DAG's file; a mapped task's deployments are read relative to it.
    """
    if not task.is_mapped:
        control = getattr(task, "control", None)
        found = ControlFolder.parse(control) if isinstance(control, str) else None
        shown = None if found is None else _filled(found, getattr(task, "environment", None))
        return frozenset(() if shown is None else {shown})
    folders = set()
    environment = task.partial_kwargs.get("environment")
    for name in (task.partial_kwargs.get("deployment"), *_expanded(task.expand_input.value)):
        if isinstance(name, str):
            file = (Path(dag_file).parent / name).resolve()
            try:
                source = find_source(str(file), environment=environment)
                folders.add(_filled(ControlFolder.of(source), environment))
            except BatchdeployError:
                # If this machine cannot read the deployment, its reports are not shown.
                continue
    return frozenset(folder for folder in folders if folder is not None)


def find_key(control: ControlFolder, path: str, allowed: Callable[[str], bool]) -> str | None:
    """The key of a file below a control folder; None if it is elsewhere or not allowed.

    Args:
        control: the control folder.
        path: the requested file or its URI; not trusted.
        allowed: whether a key, after links are resolved, may be read.
    """
    if is_uri(control.path):
        key = path.removeprefix(f"{control.path}/")
        return key if key != path and allowed(key) else None
    try:
        file = Path(path).parent.resolve() / Path(path).name
        key = file.relative_to(Path(control.path).resolve()).as_posix()
    except (OSError, ValueError, RuntimeError):
        # The path may be too long, hold a zero byte, or contain a link loop.
        return None
    return key if allowed(key) else None


def open_folder(control: ControlFolder) -> Storage:
    """Reads what may be shown of a control folder.

    Raises:
        PublishError: the store cannot be opened.
    """
    if is_uri(control.path):
        return GuardedStore(open_location(control.path, control.stores))
    return GuardedFolder(Path(control.path).resolve())


def _filled(control: ControlFolder, environment: str | None) -> ControlFolder | None:
    """The control folder with the environment's values; None if one of them is missing."""
    # Imported here, because Airflow imports this module to parse DAG files, which show no page.
    from batchdeploy.airflow.control_values import fill_control

    path = fill_control(control.path, environment)
    given = {name: value for name, value in asdict(control.stores).items() if value is not None}
    stores = {name: fill_control(value, environment) for name, value in given.items()}
    if path is None or None in stores.values():
        return None
    return ControlFolder(path, StorageSpec(**stores))


def _expanded(value: Any) -> list[Any]:
    """The values of ``deployment`` in ``expand`` or ``expand_kwargs`` that are literals in the DAG file."""
    if isinstance(value, dict):
        given = value.get("deployment")
        return list(given) if isinstance(given, list | tuple) else []
    if isinstance(value, list | tuple):
        return [kwargs.get("deployment") for kwargs in value if isinstance(kwargs, dict)]
    return []
