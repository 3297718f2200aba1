"""Airflow integration: a deployment file as a DAG, a task group or single operators.

from batchdeploy.airflow import ScoringDag

dag = ScoringDag("flights.yaml")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from batchdeploy.airflow.assets import drift_asset, model_asset, scores_asset
from batchdeploy.airflow.factory import ScoringDag, ScoringTaskGroup, scoring_params, scoring_schedule
from batchdeploy.airflow.failure_messages import GateRefusal
from batchdeploy.airflow.operators import (
    DriftOperator,
    PlanOperator,
    PublishOperator,
    RunOperator,
    ScoreOperator,
    ValidateOperator,
)
from batchdeploy.airflow.partition import resolve_partition

if TYPE_CHECKING:
    from batchdeploy.airflow.maintenance import (
        CollectGarbageOperator,
        MaintenanceDag,
        RecoverOperator,
        RollbackDag,
        RollbackOperator,
    )
    from batchdeploy.airflow.promotion import PromotionDag

__all__ = [
    "CollectGarbageOperator",
    "DriftOperator",
    "GateRefusal",
    "MaintenanceDag",
    "PlanOperator",
    "PromotionDag",
    "PublishOperator",
    "RecoverOperator",
    "RollbackDag",
    "RollbackOperator",
    "RunOperator",
    "ScoreOperator",
    "ScoringDag",
    "ScoringTaskGroup",
    "ValidateOperator",
    "drift_asset",
    "model_asset",
    "resolve_partition",
    "scores_asset",
    "scoring_params",
    "scoring_schedule",
]


# Imported lazily: most DAG files do not use them, and the approval operators double the import time.
_LAZY = {
    "CollectGarbageOperator": "maintenance",
    "MaintenanceDag": "maintenance",
    "PromotionDag": "promotion",
    "RecoverOperator": "maintenance",
    "RollbackDag": "maintenance",
    "RollbackOperator": "maintenance",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"batchdeploy.airflow.{_LAZY[name]}"), name)
