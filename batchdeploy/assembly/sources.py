"""Chooses where a deployment's rows and texts are read."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from batchdeploy import ports
from batchdeploy.core.deployment import Deployment, EngineSpec
from batchdeploy.core.lookups import TableFormat
from batchdeploy.core.path_hints import is_remote, local_path
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.host.packages import require
from batchdeploy.storage.project_texts import TextFiles

if TYPE_CHECKING:
    from batchdeploy.adapters.engines.spark import SparkEngine
    from batchdeploy.adapters.parquet_splits import RowPartitions
    from batchdeploy.adapters.sources.lookup_files import LookupFiles
    from batchdeploy.adapters.sources.lookup_tables import LookupTables
    from batchdeploy.adapters.sources.table_snapshot import Snapshot


def open_source(root: Path, deployment: Deployment, spark: Callable[[], SparkEngine]) -> ports.Source:
    """What reads the deployment's partitions: a table, an object store, DVC at a revision, or the workspace.

    Args:
        root: the project's root.
        deployment: says where the rows are.
        spark: returns the Spark engine, for tables of its catalog.

    Raises:
        MissingPackageError: a package that it needs is not installed.
    """
    source = _open_rows(root, deployment, spark)
    if not deployment.data.lookups:
        return source
    from batchdeploy.adapters.sources.lookups import LookupSource

    return LookupSource(source, _lookup_files(root, deployment), _lookup_tables(root, deployment))


def _lookup_tables(root: Path, deployment: Deployment) -> LookupTables:
    """What pins the tables of lookups that are Delta's or Iceberg's."""
    from batchdeploy.adapters.sources.lookup_tables import LookupTables
    from batchdeploy.adapters.sources.table_files import TableFiles

    if any(lookup.format != "parquet" for lookup in deployment.data.lookups):
        require("lakehouse", deployment)
    storage = deployment.storage
    opening = {kind: partial(_opener(kind), root, storage) for kind in get_args(TableFormat)}
    return LookupTables(opening=opening, files=TableFiles(storage))


def _lookup_files(root: Path, deployment: Deployment) -> LookupFiles:
    """What pins the tables of lookups; those that DVC records at ``data.rev`` are read there."""
    from batchdeploy.adapters.sources.lookup_files import LookupFiles

    data = deployment.data
    if any(is_remote(lookup.path) for lookup in data.lookups):
        require("objects", deployment)
    if not _has_dvc(root):
        return LookupFiles(root=root, storage=deployment.storage)
    from batchdeploy.adapters.sources.dvc import pull_command, recorded_table

    rev = data.dvc_rev
    recorded = partial(recorded_table, root, rev=rev, fetches=data.fetch is not False)
    return LookupFiles(
        root=root,
        storage=deployment.storage,
        recorded=None if rev is None else recorded,
        fetched=recorded if data.fetch and rev is None else None,
        pull_command=partial(pull_command, root),
    )


def _open_rows(root: Path, deployment: Deployment, spark: Callable[[], SparkEngine]) -> ports.Source:
    data = deployment.data
    if data.format == "catalog":
        return spark().catalog
    if data.format != "parquet":
        require("lakehouse", deployment)
        from batchdeploy.adapters.sources.table_source import TableSource

        opening = partial(_opener(data.format), root, deployment.storage)
        return TableSource(data.format, opening, deployment.storage, partial(_row_partitions, deployment))
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

    # With `fetch` nobody has to be told how to pull, and DVC takes almost half a second to open for it.
    pull = None if data.fetch else partial(pull_command, root)
    folder = FolderSource(root, recorded=partial(recorded_md5s, root), pull_command=pull, rows=rows)
    if not data.fetch:
        return folder
    return DvcWorkspace(folder, DvcSource(root, in_place=_has_workers_elsewhere(deployment.engine)))


def _row_partitions(deployment: Deployment) -> RowPartitions:
    """What reads partitions from a column of the files."""
    require("mlflow", deployment)
    from batchdeploy.adapters.parquet_splits import RowPartitions

    return RowPartitions(deployment.limits)


def _opener(kind: TableFormat) -> Callable[[Path, StorageSpec, str, str | int | None], Snapshot]:
    return _open_delta if kind == "delta" else _open_iceberg


def _open_delta(root: Path, storage: StorageSpec, path: str, rev: str | int | None) -> Snapshot:
    from batchdeploy.adapters.sources.delta import DeltaSnapshot

    return DeltaSnapshot(_table_path(root, path), None if rev is None else int(rev), storage)


def _open_iceberg(root: Path, storage: StorageSpec, path: str, rev: str | int | None) -> Snapshot:
    from batchdeploy.adapters.sources.iceberg import IcebergSnapshot

    # A name without a slash is that of a table in a catalog.
    return IcebergSnapshot(_table_path(root, path) if "/" in path else path, rev, storage)


def _table_path(root: Path, path: str) -> str:
    return path if is_remote(path) else str(root / local_path(path))


def open_texts(root: Path, deployment: Deployment) -> ports.TextSource:
    """What reads suites and references: the workspace, and DVC's cache where rows are fetched."""
    if not _has_dvc(root):
        return TextFiles(root)
    from batchdeploy.adapters.sources.dvc import fetched_file, pull_command

    data = deployment.data
    fetches = data.fetch or (data.dvc_rev is not None and data.fetch is not False)
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
