"""Models from an MLflow registry: pinned, fetched, and loaded on workers."""

from batchdeploy.adapters.mlflow.copies import digest_folder
from batchdeploy.adapters.mlflow.loading import (
    PredictorLoader,
    find_graph,
    load_estimator,
    load_predictor,
)
from batchdeploy.adapters.mlflow.opening import open_registry
from batchdeploy.adapters.mlflow.registry import DIGEST_TAG, MlflowRegistry
from batchdeploy.adapters.mlflow.trying import Trial, try_out

__all__ = [
    "DIGEST_TAG",
    "MlflowRegistry",
    "PredictorLoader",
    "Trial",
    "digest_folder",
    "find_graph",
    "load_estimator",
    "load_predictor",
    "open_registry",
    "try_out",
]
