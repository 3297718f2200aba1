"""Finds a project's root, the folder that relative paths of its deployments start from."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from batchdeploy.core.deployment import Deployment
from batchdeploy.core.layout import Layout
from batchdeploy.errors import DeploymentError, Problem

ROOT_VARIABLE = "BATCHDEPLOY_ROOT"
ROOT_MARK = ".batchdeploy"
COMMON_MARKS = (".dvc", "dvc.yaml", ".git")
# NOTE: Airflow's own variable and default; a bundle's files are below it, whatever kind of bundle it is.
STORAGE_VARIABLE = "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH"


def find_root(file: Path, written: str | None = None, *, storage: Path | None = None) -> Path:
    """The root of the project that a deployment's file belongs to.

    In order of precedence: the deployment's key ``root``, relative to its file; the variable
    ``BATCHDEPLOY_ROOT``; the nearest folder upwards with `.batchdeploy`; the nearest with `.dvc`, `dvc.yaml`
    or `.git`; the checkout of an Airflow DAG bundle; the file's own folder.

    Args:
        file: the deployment's file.
        written: the value of its key ``root``.
        storage: where Airflow keeps DAG bundles, where somebody knows better than its variable.

    Raises:
        DeploymentError: ``BATCHDEPLOY_ROOT`` is a relative path, which would depend on the working directory.
    """
    folder = file.resolve().parent
    if written is not None:
        return Path(os.path.normpath(folder / written))
    if given := os.environ.get(ROOT_VARIABLE):
        if not Path(given).is_absolute():
            raise DeploymentError(str(file), (Problem(ROOT_VARIABLE, "must be an absolute path", given),))
        return Path(os.path.normpath(given))
    checkout = checkout_of(folder, storage)
    above = [folder, *folder.parents]
    if checkout is not None:
        above = above[: above.index(checkout) + 1]
    for marks in ((ROOT_MARK,), COMMON_MARKS):
        for candidate in above:
            if any((candidate / mark).exists() for mark in marks):
                return candidate
    return checkout or folder


def checkout_of(path: Path, storage: Path | None = None) -> Path | None:
    """Airflow's checkout of a DAG bundle that contains a path, or None.

    It is a checkout of one commit (``versions/COMMIT``), deleted after a later commit, or one that follows
    the bundle. Neither may hold files that have to last.
    """
    bundles = (storage or bundle_storage()).resolve()
    if not path.is_relative_to(bundles) or path == bundles:
        return None
    parts = path.relative_to(bundles).parts
    if len(parts) > 2 and parts[1] == "versions":
        return bundles.joinpath(*parts[:3])
    return bundles.joinpath(*parts[: 2 if parts[1:2] == ("tracking_repo",) else 1])


def bundle_storage() -> Path:
    """Airflow's folder for checkouts of DAG bundles, from its variable or its default."""
    given = os.environ.get(STORAGE_VARIABLE)
    return Path(given) if given else Path(tempfile.gettempdir(), "airflow", "dag_bundles")


def refuse_lost_output(
    file: Path,
    deployment: Deployment,
    root: Path,
    *,
    storage: Path | None = None,
    checkout: Path | None = None,
) -> None:
    """Raises if scores or records would be written into a DAG bundle's checkout.

    Args:
        file: the deployment's file.
        deployment: the deployment in it.
        root: the project's root.
        storage: where Airflow keeps DAG bundles, as for `find_root`.
        checkout: a known checkout, wherever it is.

    Raises:
        DeploymentError: they would; the hint gives the line to write.
    """
    path, layout = deployment.output.path, Layout.of(root, deployment.output)
    # What a machine holds of a table or a control folder in a store, it can make again.
    places = ["output.path"] * ("://" not in path) + ["output.control"] * (layout.control_uri is None)
    for key in places:
        place = layout.table if key == "output.path" else layout.control
        known = checkout is not None and place.resolve().is_relative_to(checkout.resolve())
        if known or checkout_of(place.resolve(), storage) is not None:
            raise _lost(file, deployment, key, place)


def _lost(file: Path, deployment: Deployment, key: str, place: Path) -> DeploymentError:
    path = str(deployment.output.control if key == "output.control" else deployment.output.path)
    project = f'"root: /srv/{deployment.name}"'
    problem = f"{place} is in a DAG bundle's checkout, which Airflow deletes after a later commit"
    lasting = Path(path).name if Path(path).is_absolute() else os.path.normpath(path)
    hint = (
        f'write "{key.partition(".")[2]}: /srv/{lasting}" there, a folder outside the bundle that all '
        f"workers see; or write {project}, or set {ROOT_VARIABLE}, where data, suite and scores lie together"
    )
    if key == "output.control":
        hint = f"{hint}; or a URI in an object store"
    return DeploymentError(str(file), (Problem(key, problem),), hint=hint)


def climbing_paths(deployment: Deployment, root: Path) -> list[Problem]:
    """A problem for each path of a deployment that leads out of the project's root."""
    paths = {
        "data.path": deployment.data.path,
        "output.path": deployment.output.path,
        "output.control": deployment.output.control,
        "expectations": deployment.expectations,
        "drift.reference": deployment.drift and deployment.drift.reference,
    }
    paths |= {f"data.lookups.{n}.path": lookup.path for n, lookup in enumerate(deployment.data.lookups)}
    problems = []
    for key, text in paths.items():
        if not text or "://" in text or Path(text).is_absolute():
            continue
        if not Path(os.path.normpath(root / text)).is_relative_to(root):
            problems.append(Problem(key, "climbs out of the project", text))
    return problems
