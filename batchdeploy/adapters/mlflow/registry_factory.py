"""Opens a deployment's model registry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from batchdeploy.adapters.mlflow.loading import Predictor, load_predictor
from batchdeploy.adapters.mlflow.registry import MlflowRegistry
from batchdeploy.core.deployment import ModelRef
from batchdeploy.core.policy import LimitsSpec
from batchdeploy.core.registry_uris import SQLITE, RegistryUris
from batchdeploy.errors import Problem, RequestError


def open_registry(
    uris: RegistryUris,
    model: ModelRef,
    limits: LimitsSpec,
    models: Path,
    load: Callable[[str], Predictor] = load_predictor,
) -> MlflowRegistry:
    """The MLflow registry at a URI, configured by a deployment.

    Raises:
        RequestError: the SQLite file does not exist. MLflow would create an empty one, then miss the model.
    """
    missing = [
        uri
        for uri in dict.fromkeys(uris)
        if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file()
    ]
    if missing:
        raise RequestError(
            "the MLflow registry",
            tuple(Problem(uri, "there is no such database") for uri in missing),
            hint="register a model first, or set MLFLOW_TRACKING_URI; "
            "a relative path in model.registry starts at the project's root",
        )
    return MlflowRegistry(
        uris.registry,
        tracking=uris.tracking,
        code=model.code,
        trusted_types=model.trusted_types,
        limits=limits,
        models=models,
        load=load,
    )
