"""Airflow integration: a deployment file as a DAG, a task group or single operators.

from batchdeploy.airflow import ScoringDag

dag = ScoringDag("flights.yaml")
"""

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
    from batchdeploy.airflow.promotion import PromotionDag

__all__ = [
    "DriftOperator",
    "GateRefusal",
    "PlanOperator",
    "PromotionDag",
    "PublishOperator",
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


def __getattr__(name: str) -> Any:
    # Imported lazily: the approval operators double the import time, and most DAG files do not use them.
    if name == "PromotionDag":
        from batchdeploy.airflow.promotion import PromotionDag

        return PromotionDag
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
