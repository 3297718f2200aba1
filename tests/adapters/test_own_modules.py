"""Models that bring modules of one name, loaded and asked in one process."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from tests_support import save_coded

from batchdeploy.adapters.mlflow import load_estimator, load_predictor
from batchdeploy.errors import ScoringRefused

FRAME = pd.DataFrame({"x": [1.0, 2.0]})
OURS = ("entry", "features", "src", "statistics")
LAYOUTS = {
    "a module": ("features.py", "import features", "features.FACTOR"),
    "a module that is imported late": ("features.py", "", "__import__('features').FACTOR"),
    "a module of a package": ("src/features.py", "from src import features", "features.FACTOR"),
    "a module of a package, late": ("src/features.py", "", "__import__('src.features').features.FACTOR"),
    "a package": ("src/__init__.py", "import src", "src.FACTOR"),
    "a name of Python's own": ("statistics.py", "", "__import__('statistics').FACTOR"),
}


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test of this file must leave as it was."""
    for name in OURS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    path, object_ = list(sys.path), sys.path
    yield
    assert (sys.path, id(sys.path)) == (path, id(object_))


def coded(folder: Path, factor: int, layout: str = "a module") -> str:
    """A model that multiplies by a factor that a module of its own holds."""
    file, top, asked = LAYOUTS[layout]
    entry = f"{top}\nclass Model:\n    def predict(self, frame):\n        return frame['x'] * {asked}\n"
    sources = {"entry.py": f"{entry}\ndef _load_pyfunc(path):\n    return Model()\n"}
    return str(save_coded(folder / str(factor), sources | {file: f"FACTOR = {factor}.0\n"}))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_model_answers_with_its_own_modules(tmp_path: Path, layout: str) -> None:
    folders = [coded(tmp_path, factor, layout) for factor in (2, 3, 5)]
    before = {*sys.modules}
    asked = [load_predictor(folder) for folder in folders]
    for _ in range(2):
        assert [list(predict(FRAME)) for predict in asked] == [[2, 4], [3, 6], [5, 10]]
    assert not {*sys.modules} - before & {*OURS, "src.features"}
    assert not [file for folder in folders for file in Path(folder).rglob("__pycache__")]


@pytest.mark.parametrize("name", ["entry", "features"])
def test_a_module_of_the_process_neither_serves_a_model_nor_gives_way_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    theirs = ModuleType(name)
    theirs.__dict__["FACTOR"] = 7.0
    monkeypatch.setitem(sys.modules, name, theirs)
    predict = load_predictor(coded(tmp_path, 2))
    assert list(predict(FRAME)) == [2, 4]
    assert sys.modules[name] is theirs


def test_a_module_that_comes_from_elsewhere_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To Python a package with ``__init__.py`` goes before one without, wherever on its path both lie."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "__init__.py").touch()
    (tmp_path / "src" / "features.py").write_text("FACTOR = 7.0\n")
    folder = coded(tmp_path, 2, "a module of a package")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        with pytest.raises(ScoringRefused, match=r"module src\.features: is in the model's code, and was"):
            load_predictor(folder)
    del sys.modules["src"]


@pytest.mark.slow
def test_threads_that_ask_such_models_take_turns(tmp_path: Path) -> None:
    asked = {
        factor: load_predictor(coded(tmp_path, factor, "a module that is imported late")) for factor in (2, 3)
    }
    wrong: list[object] = []

    def ask(factor: int) -> None:
        for _ in range(200):
            answer = list(asked[factor](FRAME))
            if answer != [factor, 2 * factor]:
                wrong.append(answer)

    threads = [threading.Thread(target=ask, args=(factor,)) for factor in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_pickles_find_the_modules_of_their_own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps of a scikit-learn model, whose classes the pickle names by module."""
    import mlflow
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline

    folders = []
    for factor in (2, 3):
        sources = tmp_path / str(factor)
        sources.mkdir()
        (sources / "features.py").write_text(
            "from sklearn.base import BaseEstimator, TransformerMixin\n"
            "class Scaled(TransformerMixin, BaseEstimator):\n"
            "    def fit(self, X, y=None):\n        return self\n"
            f"    def transform(self, X):\n        return X * {factor}\n"
        )
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(sources))
            patch.delitem(sys.modules, "features", raising=False)
            features = __import__("features")
            fitted = make_pipeline(features.Scaled(), LinearRegression()).fit(FRAME * 1.0, [1.0, 2.0])
            fitted.steps[0] = ("scaled", features.Scaled())
            fitted.steps[1][1].coef_, fitted.steps[1][1].intercept_ = fitted.steps[1][1].coef_ * 0 + 1, 0.0
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                mlflow.sklearn.save_model(
                    fitted, sources / "saved", serialization_format="cloudpickle",
                    code_paths=[str(sources / "features.py")], pip_requirements=["scikit-learn"],
                )  # fmt: skip
        del sys.modules["features"]
        folders.append(str(sources / "saved"))
    asked = [load_predictor(folder) for folder in folders]
    assert [list(predict(FRAME)) for predict in asked] == [[2, 4], [3, 6]]
    for folder, factor in zip(folders, (2, 3), strict=True):
        found = load_estimator(folder)
        assert found is not None
        assert list(found[2](getattr(found[0], found[1]))(FRAME)) == [factor, 2 * factor]


def test_a_model_from_code_that_sets_none_is_not_the_one_before(tmp_path: Path) -> None:
    import mlflow

    code = tmp_path / "model.py"
    code.write_text(
        "import mlflow\n\n"
        "def predict(model_input: list[float]) -> list[float]:\n    return model_input\n\n"
        "mlflow.models.set_model(predict)\n"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(tmp_path / "saved", python_model=str(code), pip_requirements=["pandas"])
    mlflow.models.set_model(lambda model_input: model_input)
    try:
        load_predictor(str(tmp_path / "saved"))
        (tmp_path / "saved" / "model.py").write_text("import mlflow\n")
        with pytest.raises(Exception, match="ensure the model is set"):
            load_predictor(str(tmp_path / "saved"))
        assert callable(vars(mlflow.models.model)["__mlflow_model__"])
    finally:
        vars(mlflow.models.model)["__mlflow_model__"] = None
