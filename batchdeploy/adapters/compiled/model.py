"""A model whose trees are walked by machine code; all else in it stays what it is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchdeploy.adapters.compiled.forest import Forest
from batchdeploy.adapters.compiled.walker import Walker
from batchdeploy.errors import Problem, RequestError

LIBRARY, TREES = "walk.so", "trees.npz"
HINT = "model.runtime: native scores with the model as it is"
Predictor = Callable[[Any], Any]
Estimator = Callable[[str], tuple[Any, str] | None]


@dataclass(frozen=True, slots=True)
class CompiledLoader:
    """Loads a model whose trees a library walks; equal where model and library are the same.

    Attributes:
        library: the folder that `build` made, as workers find it.
        load: loads a model as it is.
        estimator: loads what a model consists of.
        locate: gives where a folder is on this machine.
        threads: native threads a worker may use, or None for as many as there are.
    """

    library: str
    load: Callable[[str], Predictor]
    estimator: Estimator
    locate: Callable[[str], str]
    threads: int | None

    def __call__(self, folder: str) -> Predictor:
        """The model in ``folder`` as a function from a frame of its inputs to its answer."""
        place = self.locate(folder)
        library = Path(self.locate(self.library))
        return CompiledModel(self.load(place), parts_of(self.estimator, place), library, self.threads)


class CompiledModel:
    """Answers as the model does, its trees by machine code.

    Attributes:
        native: the model as it was.
        single: whether it answers in 32 bits.
    """

    def __init__(self, native: Predictor, parts: tuple[Any, str], library: Path, threads: int | None) -> None:
        self.native = native
        model, method = parts
        pipeline = hasattr(model, "steps")
        trees = CompiledTrees(model.steps[-1][1] if pipeline else model, library, threads)
        self.single = trees.single
        if pipeline:
            model = copy.copy(model)
            model.steps = [*model.steps[:-1], (model.steps[-1][0], trees)]
        else:
            model = trees
        self._answer: Predictor = getattr(model, method)

    def __call__(self, frame: Any) -> Any:
        """The model's answer for a frame of its inputs."""
        return self._answer(frame)


class CompiledTrees:
    """Stands where the fitted trees stood, and has their methods."""

    def __init__(self, fitted: Any, library: Path, threads: int | None) -> None:
        self._fitted = fitted
        forest = Forest.load(library / TREES)
        self.single = forest.single
        self._trees = Walker(library / LIBRARY, forest, threads)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_fitted"], name)

    def __sklearn_is_fitted__(self) -> bool:
        return True

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
        return self._trees(_as_seen_by(self._fitted, rows))


def parts_of(estimator: Estimator, folder: str) -> tuple[Any, str]:
    """What a model consists of, and which of its methods answers.

    Raises:
        RequestError: it is of a kind that has no trees.
    """
    parts = estimator(folder)
    if parts is None:
        raise no_trees("it is not logged by MLflow's scikit-learn, LightGBM or XGBoost")
    return parts


def no_trees(why: str) -> RequestError:
    """The refusal of a model that cannot be compiled."""
    problem = Problem("model.runtime", "compiled takes tree ensembles that Treelite reads", why)
    return RequestError("the model", (problem,), hint=HINT)


def _as_seen_by(fitted: Any, rows: Any) -> Any:
    """The features as the trees themselves look at them: their own checks, and their own precision."""
    import numpy as np

    home = type(fitted).__module__.partition(".")[0]
    if home != "sklearn":
        kind = np.float32 if home == "xgboost" else np.float64
        return np.ascontiguousarray(np.asarray(rows, dtype=kind), dtype="float64")
    from sklearn.utils.validation import validate_data

    binned = "_hist_gradient_boosting" in type(fitted).__module__
    nan = fitted.__sklearn_tags__().input_tags.allow_nan
    values = validate_data(
        fitted,
        rows,
        # NOTE: every tree of scikit-learn but the histogram kind reads its features as 32-bit floats.
        dtype=np.float64 if binned else np.float32,
        ensure_all_finite=False if binned else "allow-nan" if nan else True,
        reset=False,
        order="C",
    )
    return np.ascontiguousarray(values, dtype="float64")
