"""A deployment's scores, drift table and model as Airflow Assets, on which other DAGs can be scheduled."""

from __future__ import annotations

from airflow.sdk import Asset

from batchdeploy.core.deployment import Deployment


def scores_asset(deployment: Deployment | str) -> Asset:
    """The published scores. Events carry partition, rows, model version, run id and drift verdict."""
    return Asset(name=f"{_name(deployment)}/scores", group="batchdeploy")


def drift_asset(deployment: Deployment | str) -> Asset:
    """The drift table. Events carry partition, run id, verdict and the alarmed columns."""
    return Asset(name=f"{_name(deployment)}/drift", group="batchdeploy")


def model_asset(deployment: Deployment | str) -> Asset:
    """The registered model, named as in the registry; a promotion emits an event on it."""
    name = deployment.model.name if isinstance(deployment, Deployment) else deployment
    return Asset(name=f"{name}/model", group="batchdeploy")


def _name(deployment: Deployment | str) -> str:
    return deployment.name if isinstance(deployment, Deployment) else deployment
