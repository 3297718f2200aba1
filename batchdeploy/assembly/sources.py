"""Chooses where a deployment's rows and texts are read."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from batchdeploy import ports
from batchdeploy.core.deployment import Deployment, EngineSpec
from batchdeploy.core.path_hints import is_remote
from batchdeploy.host.packages import require
from batchdeploy.storage.project_texts import TextFiles

if TYPE_CHECKING:
    from batchdeploy.adapters.parquet_splits import RowPartitions


def open_source(root: Path, deployment: Deployment) -> ports.Source:
    """What reads the deployment's partitions: an object store, DVC at a revision, or the workspace.

    Raises:
        MissingPackageError: DVC or the object store's client is needed and not installed.
    """
    data = deployment.data
    if is_remote(data.path):
        require("objects", deployment)
        from batchdeploy.adapters.sources.object_folder import ObjectFolderSource

        return ObjectFolderSource(deployment.storage, rows=partial(_row_partitions, deployment))
    if data.rev is not None or data.fetch:
        require("dvc", deployment)
    if data.rev is not None:
        from batchdeploy.adapters.sources.dvc import DvcSource

        return DvcSource(root, in_place=_has_workers_elsewhere(deployment.engine))
    from batchdeploy.adapters.sources.folder import FolderSource

    rows = partial(_row_partitions, deployment)
    if not data.fetch and not _has_dvc(root):
        return FolderSource(root, rows=rows)
    from batchdeploy.adapters.sources.dvc import DvcSource, DvcWorkspace, pull_command, recorded_md5s

    recorded, pull = partial(recorded_md5s, root), partial(pull_command, root)
    folder = FolderSource(root, recorded=recorded, pull_command=pull, rows=rows)
    if not data.fetch:
        return folder
    return DvcWorkspace(folder, DvcSource(root, in_place=_has_workers_elsewhere(deployment.engine)))


def _row_partitions(deployment: Deployment) -> RowPartitions:
    """What reads partitions from a column of the files."""
    require("mlflow", deployment)
    from batchdeploy.adapters.parquet_splits import RowPartitions

    return RowPartitions(deployment.limits)


def open_texts(root: Path, deployment: Deployment) -> ports.TextSource:
    """What reads suites and references: the workspace, and DVC's cache where rows are fetched."""
    if not _has_dvc(root):
        return TextFiles(root)
    from batchdeploy.adapters.sources.dvc import fetched_file, pull_command

    data = deployment.data
    fetches = data.fetch or (data.rev is not None and data.fetch is not False)
    if fetches:
        return TextFiles(root, elsewhere=partial(fetched_file, root))
    return TextFiles(root, hint=partial(pull_command, root))


def _has_workers_elsewhere(engine: EngineSpec) -> bool:
    """Whether the rows are read on machines that may not see this one's cache."""
    return engine.kind == "spark" and (engine.remote is not None or not engine.master.startswith("local"))


def _has_dvc(root: Path) -> bool:
    """Whether DVC is installed, and the project is in one of its repositories."""
    for folder in (root, *root.parents):
        if (folder / ".dvc").is_dir():
            return importlib.util.find_spec("dvc") is not None
        if (folder / ".git").exists():
            break
    return False
