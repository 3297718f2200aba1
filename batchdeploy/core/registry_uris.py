"""Where models are registered, and where they were logged: MLflow's registry and tracking URIs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import NamedTuple

from batchdeploy.core.model_ref import ModelRef

SQLITE = "sqlite:///"
UNITY_CATALOG = "databricks-uc"


class RegistryUris(NamedTuple):
    """The URI of the model registry, and that of the tracking server that holds logged models."""

    registry: str
    tracking: str


def registry_uris(model: ModelRef, environment: Mapping[str, str], root: PurePath) -> RegistryUris:
    """The URIs of a deployment's model.

    Each is the deployment's own, else follows from the other one, else is that of ``MLFLOW_REGISTRY_URI`` or
    ``MLFLOW_TRACKING_URI``. Without any of them, both are the project's ``mlflow.db``.

    Args:
        model: with its secrets filled in.
        environment: the environment variables.
        root: the project's root, where relative paths in the deployment start.
    """
    registry, tracking = (uri and _absolute(uri, root) for uri in (model.registry, model.tracking))
    if tracking is None and registry is not None:
        return RegistryUris(registry, default_tracking(registry))
    tracking = tracking or environment.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{root / 'mlflow.db'}"
    registry = registry or environment.get("MLFLOW_REGISTRY_URI") or _default_registry(tracking)
    return RegistryUris(registry, tracking)


def is_unity_catalog(registry: str) -> bool:
    """Whether a registry is Databricks' Unity Catalog, ``databricks-uc`` or ``databricks-uc://profile``."""
    return registry.partition(":")[0] == UNITY_CATALOG


def default_tracking(registry: str) -> str:
    """The tracking URI of a registry: that of the same workspace for Unity Catalog, else its own."""
    if not is_unity_catalog(registry):
        return registry
    return "databricks" + registry.removeprefix(UNITY_CATALOG)


def _default_registry(tracking: str) -> str:
    """As in MLflow, the models of a Databricks workspace are in its Unity Catalog."""
    if tracking.partition(":")[0] != "databricks":
        return tracking
    return UNITY_CATALOG + tracking.removeprefix("databricks")


def _absolute(uri: str, root: PurePath) -> str:
    if uri.startswith(SQLITE):
        return f"{SQLITE}{root / uri.removeprefix(SQLITE)}"
    return uri if "://" in uri or uri.startswith("databricks") else str(root / uri)
