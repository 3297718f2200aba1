"""Opens a deployment's model registry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from batchdeploy.adapters.mlflow.loading import Predictor, load_predictor
from batchdeploy.adapters.mlflow.registry import MlflowRegistry
from batchdeploy.core.deployment import ModelRef
from batchdeploy.core.policy import LimitsSpec
from batchdeploy.errors import Problem, RequestError

SQLITE = "sqlite:///"


def open_registry(
    uri: str,
    model: ModelRef,
    limits: LimitsSpec,
    models: Path,
    load: Callable[[str], Predictor] = load_predictor,
) -> MlflowRegistry:
    """The MLflow registry at a URI, configured by a deployment.

    Raises:
        RequestError: the SQLite file does not exist. MLflow would create an empty one, then miss the model.
    """
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file():
        raise RequestError(
            "the MLflow registry",
            (Problem(uri, "there is no such database"),),
            hint="register a model first, or set MLFLOW_TRACKING_URI; "
            "a relative path in model.registry starts at the project's root",
        )
    return MlflowRegistry(
        uri, code=model.code, trusted_types=model.trusted_types, limits=limits, models=models, load=load
    )
