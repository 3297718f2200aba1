"""A deployment's scores, drift table and model as Airflow Assets, on which other DAGs can be scheduled."""

from __future__ import annotations

from typing import Any

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


def with_assets(arguments: dict[str, Any], kind: str, *assets: Asset) -> dict[str, Any]:
    """The arguments with a step's own inlets or outlets, in addition to those of ``default_args``.

    Args:
        arguments: the operator's constructor arguments.
        kind: ``inlets`` or ``outlets``.
        assets: the step's own assets; an explicit argument overrides them.
    """
    added = (arguments.get("default_args") or {}).get(kind) or ()
    return {kind: [*assets, *added], **arguments}


def _name(deployment: Deployment | str) -> str:
    return deployment.name if isinstance(deployment, Deployment) else deployment
