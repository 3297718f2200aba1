"""Replaces the slow part of a model by compiled trees or an ONNX graph; the other steps stay the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from batchdeploy.adapters.accelerators.encoders import EstimatorProxy, last_step, with_cached_encoders
from batchdeploy.adapters.accelerators.forest import Forest
from batchdeploy.adapters.accelerators.tree_predictor import TreePredictor
from batchdeploy.errors import Problem, RequestError

LIBRARY, TREES, GRAPH = "walk.so", "trees.npz", "model.onnx"
METHODS = ("predict", "predict_proba")
SUPPORTED = {
    "compiled": "tree ensembles of scikit-learn, LightGBM and XGBoost that Treelite reads",
    "onnx": "ONNX models, and what skl2onnx converts to equal answers",
}
# Half a gigabyte; the caller halves a batch that would take more.
MAX_CELLS = 64_000_000
HINT = "model.runtime: native scores with the model as it is"
Predictor = Callable[[Any], Any]
Estimator = tuple[Any, str, Callable[[Predictor], Predictor]]


def _same(predict: Predictor) -> Predictor:
    return predict


class ModelLoaders(NamedTuple):
    """Functions that load a model's folder in different forms.

    Attributes:
        native: loads the original model as a function from a frame of its inputs to predictions.
        estimator: loads the fitted estimator; returns it with the name of its prediction method and a wrapper
            for functions that call it, or None for flavors without an estimator.
        graph: the path of the model's ONNX graph, or None for other flavors.
        call: turns a loaded model into a function of a frame, for models that take something else.
    """

    native: Callable[[str], Predictor]
    estimator: Callable[[str], Estimator | None]
    graph: Callable[[str], str | None]
    call: Callable[[Predictor], Predictor] = _same


@dataclass(frozen=True, slots=True)
class AcceleratedLoader:
    """Loads a model for an accelerated runtime; instances with equal fields are equal.

    Attributes:
        kind: ``compiled`` or ``onnx``.
        artifact: the folder that `build_artifact` made, by its name for ``locate``.
        loaders: load the original model and its parts.
        locate: returns the path of a folder on this machine.
        threads: native threads per worker, or None for one per core.
        device: ``cpu`` or ``cuda``, for ONNX graphs.
    """

    kind: str
    artifact: str
    loaders: ModelLoaders
    locate: Callable[[str], str]
    threads: int | None
    device: str = "cpu"

    def __call__(self, folder: str) -> Predictor:
        """The model in ``folder`` as a function from a frame of its inputs to predictions."""
        artifact = Path(self.locate(self.artifact))
        return accelerated_predictor(
            self.kind, self.locate(folder), artifact, self.loaders, self.threads, self.device
        )


class AcceleratedPredictor:
    """Predicts like the model, with an accelerated runtime.

    Attributes:
        native: the unaccelerated model.
        single: whether predictions have 32 bits.
    """

    def __init__(self, native: Predictor, answer: Predictor, *, single: bool) -> None:
        self.native = native
        self.single = single
        self._answer = answer

    def __call__(self, frame: Any) -> Any:
        """The model's predictions for a frame of its inputs."""
        return self._answer(frame)


def accelerated_predictor(
    kind: str, folder: str, artifact: Path, loaders: ModelLoaders, threads: int | None, device: str = "cpu"
) -> AcceleratedPredictor:
    """The model in ``folder``, accelerated by its artifact.

    Args:
        kind: ``compiled`` or ``onnx``.
        folder: the model's folder on this machine.
        artifact: the folder that `build_artifact` made, on this machine.
        loaders: load the original model and its parts.
        threads: native threads, or None for one per core.
        device: ``cpu`` or ``cuda``, for ONNX graphs.
    """
    if kind == "onnx" and (file := loaders.graph(folder)) is not None:
        from batchdeploy.adapters.accelerators.onnx_session import OnnxSession

        graph = OnnxSession(Path(file), threads, device)
        # MLflow's own wrapper runs the same graph, but does not support several values per row.
        native = graph if device == "cpu" else OnnxSession(Path(file), threads)
        return AcceleratedPredictor(native, graph, single=graph.single)
    model, method, wrapped = estimator_of(kind, folder, loaders)
    fitted = last_step(model)
    if kind == "onnx":
        from batchdeploy.adapters.accelerators.onnx_session import OnnxSession

        step: Any = OnnxStep(fitted, OnnxSession(artifact / GRAPH, threads, device))
    else:
        step = CompiledTrees(fitted, artifact, threads)
    if fitted is not model:
        model = copy.copy(with_cached_encoders(model))
        model.steps = [*model.steps[:-1], (model.steps[-1][0], step)]
    else:
        model = step
    return AcceleratedPredictor(loaders.native(folder), wrapped(getattr(model, method)), single=step.single)


def estimator_of(kind: str, folder: str, loaders: ModelLoaders) -> Estimator:
    """The fitted estimator, the name of its prediction method, and a wrapper for functions that call it.

    Raises:
        RequestError: the model's flavor has no estimator, or its prediction method is not supported.
    """
    found = loaders.estimator(folder)
    if found is None:
        raise unsupported_model(kind, "it is logged by another of MLflow's flavors")
    if found[1] not in METHODS:
        raise unsupported_model(kind, f"it answers by {found[1]}, and not by {' or '.join(METHODS)}")
    return found


def unsupported_model(kind: str, why: str) -> RequestError:
    """The error for a model that the runtime does not support."""
    problem = Problem("model.runtime", f"{kind} takes {SUPPORTED[kind]}", why)
    return RequestError("the model", (problem,), hint=HINT)


class CompiledTrees(EstimatorProxy):
    """An estimator whose trees are evaluated by machine code."""

    def __init__(self, fitted: Any, artifact: Path, threads: int | None) -> None:
        super().__init__(fitted)
        forest = Forest.load(artifact / TREES)
        self.single = forest.single
        self._trees = TreePredictor(artifact / LIBRARY, forest, threads)

    def predict_proba(self, rows: Any) -> Any:
        """Probabilities, of shape (rows, classes)."""
        import numpy as np

        answer = self._ask(rows)
        return np.column_stack([1 - answer[:, 0], answer[:, 0]]) if answer.shape[1] == 1 else answer

    def predict(self, rows: Any) -> Any:
        """Labels or numbers, of shape (rows,); a booster of several classes gives (rows, classes)."""
        if hasattr(self._fitted, "classes_"):
            return self._fitted.classes_[self.predict_proba(rows).argmax(axis=1)]
        answer = self._ask(rows)
        return answer[:, 0] if answer.shape[1] == 1 else answer

    def _ask(self, rows: Any) -> Any:
        return self._trees(_as_trees_read(self._fitted, rows))


class OnnxStep(EstimatorProxy):
    """An estimator that was converted to an ONNX graph with two outputs: predictions, then probabilities."""

    single = False

    def __init__(self, fitted: Any, graph: Any) -> None:
        super().__init__(fitted)
        self._graph = graph

    def predict_proba(self, rows: Any) -> Any:
        """Probabilities, of shape (rows, classes)."""
        return self._graph.run_output(self._graph.names[1], _checked(self._fitted, rows, "f8"))

    def predict(self, rows: Any) -> Any:
        """Labels or numbers, of shape (rows,) or (rows, targets)."""
        answer = self._graph.run_output(self._graph.names[0], _checked(self._fitted, rows, "f8"))
        if hasattr(self._fitted, "classes_"):
            return answer.astype(self._fitted.classes_.dtype)
        return answer[:, 0] if answer.ndim == 2 and answer.shape[1] == 1 else answer


def _as_trees_read(fitted: Any, rows: Any) -> Any:
    """The features after the estimator's own checks, in the precision that its trees use."""
    import numpy as np

    home = type(fitted).__module__.partition(".")[0]
    rows = _codes(_dense(rows))
    if home != "sklearn":
        kind = np.float32 if home == "xgboost" else np.float64
        return np.ascontiguousarray(np.asarray(rows, dtype=kind), dtype="float64")
    binned = "_hist_gradient_boosting" in type(fitted).__module__
    # NOTE: all trees of scikit-learn except histogram gradient boosting read features as 32-bit floats.
    values = _checked(fitted, rows, "f8" if binned else "f4", infinite=binned)
    return np.ascontiguousarray(values, dtype="float64")


def _codes(rows: Any) -> Any:
    """Converts the categories of a frame to their places, as LightGBM does; NaN for missing ones."""
    import numpy as np
    import pandas as pd

    if not isinstance(rows, pd.DataFrame):
        return rows
    named = [name for name, kind in rows.dtypes.items() if kind == "category"]
    rows = rows.copy(deep=False)
    for name in named:
        rows[name] = rows[name].cat.codes.astype("float64").replace(-1.0, np.nan)
    return rows


def _checked(fitted: Any, rows: Any, kind: str, *, infinite: bool = False) -> Any:
    """The features after the estimator's own validation."""
    from sklearn.utils.validation import validate_data

    nan = fitted.__sklearn_tags__().input_tags.allow_nan
    finite: bool | str = False if infinite else "allow-nan" if nan else True
    rows = _dense(rows)
    return validate_data(fitted, rows, dtype=kind, ensure_all_finite=finite, reset=False, order="C")


def _dense(rows: Any) -> Any:
    """Converts an encoder's sparse matrix to an array."""
    if not hasattr(rows, "toarray"):
        return rows
    if rows.shape[0] * rows.shape[1] > MAX_CELLS:
        raise MemoryError(f"a sparse batch of shape {rows.shape} would be too large as an array")
    return rows.toarray()
