"""What a deployment makes and needs, as Airflow Assets; other DAGs are scheduled on them by these names."""

from __future__ import annotations

from airflow.sdk import Asset

from batchdeploy.core.deployment import Deployment


def scores_asset(deployment: Deployment | str) -> Asset:
    """The published scores. An event says partition, rows, model version, run id and drift verdict."""
    return Asset(name=f"{_name(deployment)}/scores", group="batchdeploy")


def drift_asset(deployment: Deployment | str) -> Asset:
    """The drift table. An event says partition, run id, verdict and which columns alarm."""
    return Asset(name=f"{_name(deployment)}/drift", group="batchdeploy")


def model_asset(deployment: Deployment | str) -> Asset:
    """The registered model, by the registry's name of it; a promotion emits an event on it."""
    name = deployment.model.name if isinstance(deployment, Deployment) else deployment
    return Asset(name=f"{name}/model", group="batchdeploy")


def _name(deployment: Deployment | str) -> str:
    return deployment.name if isinstance(deployment, Deployment) else deployment
