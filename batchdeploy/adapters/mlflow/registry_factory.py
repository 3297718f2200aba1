"""Opens a deployment's model registry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from batchdeploy.adapters.mlflow.first_use_records import FirstUseRecords
from batchdeploy.adapters.mlflow.loading import Predictor, load_predictor
from batchdeploy.adapters.mlflow.registry import MlflowRegistry
from batchdeploy.core.deployment import ModelRef
from batchdeploy.core.layout import FIRST_USES, MODELS
from batchdeploy.core.policy import LimitsSpec
from batchdeploy.core.registry_uris import SQLITE, RegistryUris
from batchdeploy.errors import Problem, RequestError
from batchdeploy.storage.interface import Storage


def open_registry(
    uris: RegistryUris,
    model: ModelRef,
    limits: LimitsSpec,
    models: Path,
    load: Callable[[str], Predictor] = load_predictor,
    *,
    control: Storage | None = None,
) -> MlflowRegistry:
    """The MLflow registry at a URI, configured by a deployment.

    Args:
        uris: where models are registered, and where they were logged.
        model: the model, with what it may contain.
        limits: the limits on its files.
        models: the folder of cached models.
        load: loads a model's files.
        control: the table's control folder, which keeps the records of first uses; None: the folder of cached
            models does.

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
        first_uses=None if control is None else FirstUseRecords(control, f"{MODELS}/{FIRST_USES}"),
        load=load,
    )
