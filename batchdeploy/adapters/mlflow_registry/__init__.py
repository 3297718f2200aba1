"""Models from an MLflow registry: pinned, fetched, and loaded on workers."""

from batchdeploy.adapters.mlflow_registry.loading import load_estimator, load_predictor
from batchdeploy.adapters.mlflow_registry.registry import DIGEST_TAG, MlflowRegistry, digest_folder

__all__ = ["DIGEST_TAG", "MlflowRegistry", "digest_folder", "load_estimator", "load_predictor"]
