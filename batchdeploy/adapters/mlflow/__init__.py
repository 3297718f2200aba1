"""Resolves, downloads and loads models from an MLflow registry."""

from batchdeploy.adapters.mlflow.loading import (
    PredictorLoader,
    find_graph,
    load_estimator,
    load_predictor,
)
from batchdeploy.adapters.mlflow.model_cache import digest_folder
from batchdeploy.adapters.mlflow.probe import Probe, probe_model
from batchdeploy.adapters.mlflow.registry import DIGEST_TAG, MlflowRegistry
from batchdeploy.adapters.mlflow.registry_factory import open_registry

__all__ = [
    "DIGEST_TAG",
    "MlflowRegistry",
    "PredictorLoader",
    "Probe",
    "digest_folder",
    "find_graph",
    "load_estimator",
    "load_predictor",
    "open_registry",
    "probe_model",
]
