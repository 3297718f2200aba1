"""Models are first loaded and asked in a process of their own: whatever dies there is not the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests_support import FEATURES, Result, customers, register, save_coded

from batchdeploy.adapters.mlflow import Probe, probe, probe_model
from batchdeploy.adapters.mlflow.loading import open_model
from batchdeploy.adapters.mlflow.tree_checks import tree_problems
from batchdeploy.errors import ScoringRefused

DAY = "2024-03-02"
FRAME = pd.DataFrame({"x": [1.0, 2.0], "y": [1.0, 2.0], "z": [1.0, 2.0]})
Cli = Callable[..., Result]
ENTRY = """\
import os, signal

def note(step):
    with open({log!r}, "a") as file:
        file.write(step + "\\n")

class Model:
    def predict(self, frame):
        note("asked"); {asked}

def _load_pyfunc(path):
    note("loaded"); {loaded}; return Model()
"""


def probe_of(folder: Path, seconds: float = 100) -> Probe:
    return Probe("model churn version 3", folder, seconds, folder.parent / "output.txt")


def model(folder: Path, *, loaded: str = "pass", asked: str = "pass") -> Path:
    entry = ENTRY.format(log=str(folder / "log"), loaded=loaded, asked=asked)
    return save_coded(folder, {"entry.py": entry})


@pytest.fixture(autouse=True)
def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PROBED", set())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "does", "expected"),
    [
        ("asked", "print('last words', flush=True); os.abort()",
         "predicting a few rows: ended its process by a signal, got SIGABRT"),
        ("loaded", "os._exit(0)", "loading the model: ended its process, got exit code 0"),
        ("loaded", "import time; time.sleep(600)", "loading the model: did not end within 1 s"),
    ],
    ids=["crashes", "exits", "hangs"],
)  # fmt: skip
def test_a_model_that_ends_its_process_is_refused_by_name(
    tmp_path: Path, step: str, does: str, expected: str
) -> None:
    folder = model(tmp_path / "model", **{step: does})
    with pytest.raises(ScoringRefused, match="model churn version 3") as caught:
        probe_model(probe_of(folder, 1 if "sleep" in does else 100), lambda: [FRAME])
    assert expected in str(caught.value)
    assert ("limits.model_seconds" in str(caught.value)) == ("sleep" in does)
    assert not list(folder.parent.glob("*.tried-*"))
    if "last words" in does:
        assert "last words" in (folder.parent / "output.txt").read_text()


@pytest.mark.slow
def test_a_model_is_tried_once_for_each_set_of_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = model(tmp_path / "model", asked="raise ValueError('found again where it is scored')")
    log = folder.parent / "log"

    def tried() -> list[str]:
        log.write_text("")
        probe_model(probe_of(folder), lambda: [FRAME])
        return log.read_text().split()

    assert tried() == ["loaded", "asked"]
    assert tried() == []
    monkeypatch.setattr(probe, "PROBED", set())
    assert tried() == [], "the mark beside the copy was not found"
    monkeypatch.setattr(probe, "PACKAGES", ("batchdeploy",))
    assert tried() == ["loaded", "asked"]


def spoil_xgboost(folder: Path) -> Path:
    import mlflow
    import xgboost

    booster = xgboost.train({"nthread": 1}, xgboost.DMatrix(FRAME.to_numpy(), [0.0, 1.0]), 1)
    mlflow.xgboost.save_model(booster, folder, model_format="json", pip_requirements=["xgboost"])
    file = folder / "model.json"
    document = json.loads(file.read_text())
    tree = document["learner"]["gradient_booster"]["model"]["trees"][0]
    tree["left_children"][0] = 100_000_000
    file.write_text(json.dumps(document))
    return folder


def spoil_lightgbm(folder: Path) -> Path:
    import lightgbm
    import mlflow

    rows = np.random.default_rng(1).random((100, 3))
    booster = lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(rows, rows[:, 0]), 2)
    mlflow.lightgbm.save_model(booster, folder, pip_requirements=["lightgbm"])
    file = folder / "model.lgb"
    text = file.read_text()
    file.write_text(text[: text.index("left_child=") + 12])
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (spoil_xgboost, "predicting a few rows: ended its process by a signal, got SIGSEGV"),
        (spoil_lightgbm, "loading the model: ended its process by a signal, got SIGABRT"),
    ],
)
def test_files_that_crash_native_code_crash_another_process(
    tmp_path: Path, spoil: Callable[[Path], Path], expected: str
) -> None:
    with pytest.raises(ScoringRefused, match=expected):
        probe_model(probe_of(spoil(tmp_path / "model")), lambda: [FRAME])


def change(tree: Any, field: str, node: int, value: int) -> None:
    """Writes into a tree's nodes, as a forged file would."""
    state = tree.__getstate__()
    state["nodes"] = state["nodes"].copy()
    state["nodes"][field][node] = value
    tree.__setstate__(state)


ROWS = np.random.default_rng(0).random((200, 3))
LABELS = ROWS[:, 0] + ROWS[:, 1] > 1


def healthy() -> Iterator[Any]:
    from sklearn import ensemble, multioutput, pipeline, preprocessing, tree

    yield tree.DecisionTreeClassifier()
    yield ensemble.RandomForestClassifier(n_estimators=3)
    yield ensemble.GradientBoostingClassifier(n_estimators=3)
    yield ensemble.HistGradientBoostingClassifier(max_iter=3)
    yield ensemble.HistGradientBoostingClassifier(max_iter=3, categorical_features=[0], max_bins=10)
    yield ensemble.IsolationForest(n_estimators=3, max_features=2)
    yield ensemble.BaggingClassifier(tree.DecisionTreeClassifier(), n_estimators=3, max_features=2)
    yield ensemble.AdaBoostClassifier(n_estimators=3)
    yield ensemble.StackingClassifier([("t", tree.DecisionTreeClassifier())], tree.DecisionTreeClassifier())
    wide = pipeline.make_pipeline(preprocessing.PolynomialFeatures(2), tree.DecisionTreeClassifier())
    yield wide
    yield ensemble.VotingClassifier([("w", wide)])
    yield multioutput.ClassifierChain(tree.DecisionTreeClassifier())


def test_trees_as_they_are_grown_pass() -> None:
    for estimator in healthy():
        rows = (ROWS * 5).round() if "Hist" in type(estimator).__name__ else ROWS
        labels = np.column_stack([LABELS, ~LABELS]) if "Chain" in type(estimator).__name__ else LABELS
        assert list(tree_problems({"model": estimator.fit(rows, labels)})) == [], estimator


BROKEN: dict[str, tuple[str, int, str]] = {
    "left_child": (str(10**9), 10**9, "has a left child that is none"),
    "right_child": ("-7", -7, "has a right child that is none"),
    "feature": ("3", 3, "over 3 features that uses another"),
}


@pytest.mark.parametrize("field", BROKEN)
def test_a_tree_whose_nodes_lead_nowhere_is_found(field: str) -> None:
    from sklearn.ensemble import RandomForestClassifier

    got, value, expected = BROKEN[field]
    fitted = RandomForestClassifier(n_estimators=3).fit(ROWS, LABELS)
    change(fitted.estimators_[1].tree_, field, 0, value)
    (problem,) = tree_problems(fitted)
    assert (expected in problem.problem, problem.got) == (True, got)
    assert problem.path == "model.estimators_[1].tree_"


def test_a_loop_and_a_tree_that_sees_more_than_its_ensemble_are_found() -> None:
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.tree import DecisionTreeRegressor

    fitted = GradientBoostingClassifier(n_estimators=2).fit(ROWS, LABELS)
    change(fitted.estimators_[0, 0].tree_, "left_child", 1, 0)
    wide = np.column_stack([np.zeros((200, 9)), ROWS])
    fitted.estimators_[1, 0] = DecisionTreeRegressor(max_depth=1).fit(wide, wide[:, 9])
    loop, more = sorted(tree_problems(fitted))
    assert "node 1 has a left child that is none" in str(loop)
    assert "over 3 features that uses another, got 9" in str(more)


@pytest.mark.parametrize(
    ("field", "value"), [("left", 0), ("right", 10**6), ("feature_idx", 3), ("bitset_idx", 5)]
)
def test_a_histogram_tree_is_looked_through_as_well(field: str, value: int) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier

    fitted = HistGradientBoostingClassifier(max_iter=2).fit(ROWS, LABELS)
    nodes = fitted._predictors[1][0].nodes
    nodes[field][0] = value
    nodes["is_categorical"][0] = field == "bitset_idx"
    assert len(list(tree_problems(fitted))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("code", ["allow", "refuse"])
def test_a_forged_tree_is_refused_before_any_row_is_scored(project: Path, cli: Cli, code: str) -> None:
    from tests_support import classifiers

    known = customers(DAY)
    fitted = classifiers()[1].fit(known[FEATURES], known["age"] > 40)
    change(fitted.steps[-1][1].tree_, "left_child", 0, 10**9)
    register(project, fitted, known[FEATURES], alias="champion")
    deployment = project / "dags" / "churn.yaml"
    text = deployment.read_text().replace("alias: champion}", f"alias: champion, code: {code}}}")
    deployment.write_text(text)
    result = cli("run", deployment, "--partition", DAY)
    assert result.code == 1, result.err
    assert "problem in model churn version 3" in result.err
    assert "whose node 0 has a left child that is none, got 1000000000" in result.err
    assert "Hint: fit the model again" in result.err
    assert not (project / "scores" / "churn").exists()


def test_what_is_loaded_is_what_is_looked_through(tmp_path: Path) -> None:
    import mlflow
    from sklearn.tree import DecisionTreeClassifier

    fitted = DecisionTreeClassifier().fit(ROWS, LABELS)
    change(fitted.tree_, "left_child", 0, 10**9)
    mlflow.sklearn.save_model(
        fitted, tmp_path / "model", serialization_format="cloudpickle", pip_requirements=[]
    )
    raw, _ = open_model(str(tmp_path / "model"))
    assert [problem.path for problem in tree_problems(raw)] == ["model.tree_"]
