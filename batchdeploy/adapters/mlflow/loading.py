"""Loads a downloaded model on a worker as a function of a frame."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from batchdeploy.adapters.mlflow.categories import find_categories, with_categories
from batchdeploy.adapters.mlflow.failures import as_failure
from batchdeploy.adapters.mlflow.own_modules import OwnModules
from batchdeploy.core.model_safety import code_in_model

Predictor = Callable[..., Any]

KEPT_BY_FLAVORS = (
    ("python_function", "python", "python_version"),
    ("sklearn", "scikit-learn", "sklearn_version"),
    ("lightgbm", "lightgbm", "lgb_version"),
    ("xgboost", "xgboost", "xgb_version"),
    ("onnx", "onnx", "onnx_version"),
)


def load_predictor(folder: str) -> Predictor:
    """The model in a folder as a function from a frame of its inputs to its predictions."""
    return open_model(folder)[1]


@dataclass(frozen=True, slots=True)
class PredictorLoader:
    """`load_predictor` with settings; picklable, and equal where they are the same.

    Attributes:
        device: ``cuda`` moves XGBoost and PyTorch models to the GPU; other models choose their own device.
        rewrite: replaces a scikit-learn model by a faster one with the same predictions; None keeps it.
    """

    device: str = "cpu"
    rewrite: Callable[[Any], Any] | None = None

    def __call__(self, folder: str) -> Predictor:
        """The model in ``folder`` as a function from a frame of its inputs to its predictions."""
        return open_model(folder, self.device, self.rewrite)[1]


def open_model(
    folder: str, device: str = "cpu", rewrite: Callable[[Any], Any] | None = None
) -> tuple[Any, Predictor]:
    """(model, predict): the model itself if it is a scikit-learn model, and its prediction function."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow.pyfunc

    loader, method = _served(folder)
    config = {"device": device} if loader == "mlflow.pytorch" and device != "cpu" else None
    own = _own_modules(folder)
    with _loading(own):
        model = mlflow.pyfunc.load_model(folder, suppress_warnings=True, model_config=config)
        predict: Predictor = model.predict
        if device != "cpu" and loader in ("mlflow.sklearn", "mlflow.xgboost"):
            _move(model.get_raw_model(), device)
        raw = model.get_raw_model() if loader in ("mlflow.sklearn", "mlflow.lightgbm") else None
        if raw is not None:
            # The frame already has the signature's types; MLflow would copy it column by column to check, and
            # accept no categories.
            predict = getattr(rewrite(raw) if rewrite else raw, method)
        predict = with_categories(predict, find_categories(raw, model.metadata.signature))
    return raw if loader == "mlflow.sklearn" else None, _asked_with(own, predict)


def load_estimator(folder: str) -> tuple[Any, str, Callable[[Predictor], Predictor]] | None:
    """The fitted estimator of a model, or None for flavors without trees.

    Returns:
        The estimator, the name of its prediction method, and a wrapper that makes the modules logged with
        the model importable while the method runs.
    """
    loader, method = _served(folder)
    if loader not in ("mlflow.sklearn", "mlflow.lightgbm", "mlflow.xgboost"):
        return None
    import mlflow.pyfunc

    own = _own_modules(folder)
    with _loading(own):
        loaded = mlflow.pyfunc.load_model(folder, suppress_warnings=True)
        model = loaded.get_raw_model()
        categories = find_categories(model, loaded.metadata.signature)
    return model, method, lambda ask: _asked_with(own, with_categories(ask, categories))


def _own_modules(folder: str) -> OwnModules | None:
    """The Python modules logged with a model, or None if it has none."""
    from mlflow.models import Model

    flavors = Model.load(folder).flavors
    if not any(code_in_model(flavors)):
        return None
    places = {conf.get("code") for conf in flavors.values() if isinstance(conf, dict)}
    return OwnModules(folder, [place for place in places if isinstance(place, str)])


@contextmanager
def _loading(own: OwnModules | None) -> Iterator[None]:
    """Loads a model with its own modules, without warnings, and turns its errors into exceptions."""
    from mlflow.models import model

    with warnings.catch_warnings(), own.in_place() if own else nullcontext(), as_failure():
        warnings.simplefilter("ignore")
        # NOTE: MLflow uses the model that `set_model` set last, even if another model's code did.
        before, vars(model)["__mlflow_model__"] = vars(model)["__mlflow_model__"], None
        try:
            yield
        finally:
            vars(model)["__mlflow_model__"] = before


def _asked_with(own: OwnModules | None, ask: Predictor) -> Predictor:
    """Wraps a prediction function so that it runs with the model's own modules and raises exceptions only."""

    @wraps(ask)
    def answer(given: Any, **words: Any) -> Any:
        with own.in_place() if own else nullcontext(), as_failure():
            return ask(given, **words)

    return answer


def _move(model: Any, device: str) -> None:
    """Sets the device of an XGBoost model, which copies batches and predictions itself."""
    fitted = model.steps[-1][1] if hasattr(model, "steps") else model
    if type(fitted).__module__.partition(".")[0] != "xgboost":
        return
    if hasattr(fitted, "set_params"):
        fitted.set_params(device=device)
    else:
        fitted.set_param({"device": device})


def find_graph(folder: str) -> str | None:
    """The path of a downloaded model's ONNX graph, or None for another flavor."""
    from mlflow.models import Model

    # NOTE: ignore a graph beside a model of another flavor: it was not checked, and MLflow would not use it.
    if _served(folder)[0] != "mlflow.onnx":
        return None
    flavor = Model.load(folder).flavors.get("onnx")
    return None if flavor is None else str(Path(folder, flavor.get("data", "model.onnx")))


def _served(folder: str) -> tuple[str, str]:
    """(module with which MLflow loads a model, name of the model's prediction method)."""
    from mlflow.models import Model

    served = Model.load(folder).flavors.get("python_function", {})
    return str(served.get("loader_module")), str(served.get("predict_fn", "predict"))


def package_versions(folder: str) -> dict[str, str]:
    """Package (and ``python``) to version, from the model's pinned requirements and flavors."""
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
