"""A fetched copy of a model, loaded on whatever worker: from here on it is a function of a frame."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

KEPT_BY_FLAVORS = (
    ("python_function", "python", "python_version"),
    ("sklearn", "scikit-learn", "sklearn_version"),
    ("lightgbm", "lightgbm", "lgb_version"),
    ("xgboost", "xgboost", "xgb_version"),
    ("onnx", "onnx", "onnx_version"),
)


def load_predictor(folder: str) -> Callable[[Any], Any]:
    """The model in a fetched copy as a function from a frame of its inputs to its answer."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow.pyfunc

    with warnings.catch_warnings(), _no_bytecode():
        warnings.simplefilter("ignore")
        model = mlflow.pyfunc.load_model(folder)
    predict: Callable[[Any], Any] = model.predict
    loader, method = _served(folder)
    if loader == "mlflow.sklearn":
        # NOTE: the frame has the signature's types already; MLflow would copy it column by column to see.
        predict = getattr(model.get_raw_model(), method)
    return predict


def load_estimator(folder: str) -> tuple[Any, str] | None:
    """What a model consists of, and the name of the method that answers; None for kinds without trees."""
    loader, method = _served(folder)
    if loader not in ("mlflow.sklearn", "mlflow.lightgbm", "mlflow.xgboost"):
        return None
    import mlflow.pyfunc

    with warnings.catch_warnings(), _no_bytecode():
        warnings.simplefilter("ignore")
        return mlflow.pyfunc.load_model(folder).get_raw_model(), method


def _served(folder: str) -> tuple[str, str]:
    """Which of MLflow's modules loads a model, and which of the model's methods answers."""
    from mlflow.models import Model

    served = Model.load(folder).flavors.get("python_function", {})
    return str(served.get("loader_module")), str(served.get("predict_fn", "predict"))


@contextmanager
def _no_bytecode() -> Iterator[None]:
    """A model's own code would leave its bytecode in the folder, which then is not what was pinned."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def made_with(folder: str) -> dict[str, str]:
    """Package (and ``python``) to version, as far as the model says: its pinned requirements and flavors."""
    from mlflow.models import Model

    flavors = Model.load(folder).flavors
    found = {}
    requirements = Path(folder, "requirements.txt")
    for line in requirements.read_text(encoding="utf-8").splitlines() if requirements.is_file() else ():
        name, pinned, version = line.partition(";")[0].partition("==")
        if pinned and not version.strip().startswith("*"):
            found[name.partition("[")[0].strip()] = version.strip()
    for flavor, package, key in KEPT_BY_FLAVORS:
        if key in flavors.get(flavor, {}):
            found[package] = str(flavors[flavor][key])
    return found
