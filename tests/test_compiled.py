"""model.runtime: compiled, with the machine's C compiler: the model's own answers, or a refusal."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import mlflow
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from tests_support import FEATURES, Result, customers, register, save_model

from batchdeploy.adapters.accelerators import AcceleratedLoader, ModelLoaders, build_artifact, tree_compiler
from batchdeploy.adapters.accelerators.forest import Forest, read_forest
from batchdeploy.adapters.accelerators.tree_predictor import TreePredictor
from batchdeploy.adapters.mlflow import find_graph, load_estimator, load_predictor
from batchdeploy.assembly import open_toolbox, records_in
from batchdeploy.core.records import ScoredBatch
from batchdeploy.errors import RequestError, ScoringRefused

pytestmark = pytest.mark.slow
DAY = "2024-03-02"
LOADS = ModelLoaders(load_predictor, load_estimator, find_graph)
random = np.random.default_rng(5)
NUMBERS = pd.DataFrame(random.normal(size=(2000, 5)), columns=list("abcde"))
LABEL = (NUMBERS.sum(axis=1) + random.normal(size=2000) > 0).astype(int).to_numpy()
THREE = np.digitize(NUMBERS.sum(axis=1), [-1, 1])


def saved(model: Any, folder: Path, method: str) -> Path:
    return save_model(model, folder, NUMBERS, LABEL, method=method)


KINDS: dict[str, tuple[Callable[[], Any], Any, str]] = {
    "boosting": (lambda: HistGradientBoostingClassifier(max_iter=10), LABEL, "predict_proba"),
    "three labels": (lambda: HistGradientBoostingClassifier(max_iter=5), THREE, "predict"),
    "regression": (lambda: HistGradientBoostingRegressor(max_iter=10), NUMBERS["a"], "predict"),
    "forest": (lambda: RandomForestClassifier(3, max_depth=5), THREE, "predict_proba"),
    "gradient boosting": (lambda: GradientBoostingClassifier(n_estimators=5), LABEL, "predict_proba"),
    "three of gradient boosting": (lambda: GradientBoostingClassifier(n_estimators=3), THREE, "predict"),
    "counts": (
        lambda: HistGradientBoostingRegressor(loss="poisson", max_iter=5),
        NUMBERS["a"] ** 2,
        "predict",
    ),
    "deep forest": (lambda: ExtraTreesRegressor(5), NUMBERS["b"], "predict"),
    "LightGBM": (lambda: lightgbm.LGBMClassifier(n_estimators=5, verbose=-1), LABEL, "predict_proba"),
    "LightGBM, three labels": (
        lambda: lightgbm.LGBMClassifier(n_estimators=5, verbose=-1),
        THREE,
        "predict_proba",
    ),
    "XGBoost": (lambda: xgboost.XGBClassifier(n_estimators=20), LABEL, "predict_proba"),
    "XGBoost, three labels": (lambda: xgboost.XGBClassifier(n_estimators=5), THREE, "predict_proba"),
    "XGBoost, regression": (lambda: xgboost.XGBRegressor(n_estimators=20), NUMBERS["a"], "predict"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_compiled_trees_answer_as_the_model_does(kind: str, tmp_path: Path) -> None:
    make, label, method = KINDS[kind]
    model = make().fit(NUMBERS, label)
    folder = saved(model, tmp_path / "model", method)
    rows = NUMBERS.head(500).copy()
    if type(model).__module__.startswith(("lightgbm", "xgboost", "sklearn.ensemble._hist")):
        rows.iloc[::7, 2] = np.nan
    into = tmp_path / "models" / "compiled"
    proof = build_artifact("compiled", folder, into, lambda: [rows], LOADS)
    assert (proof.rows, proof.differing) == (500, 0)
    loader = AcceleratedLoader("compiled", str(into), LOADS, str, 1)
    predict: Any = loader(str(folder))
    assert predict.single == kind.startswith("XGBoost")
    answer = predict(rows)
    wanted = load_predictor(str(folder))(rows)
    assert answer.shape == wanted.shape
    # XGBoost itself predicts in 32 bits.
    rtol, atol = (2e-6, 1e-7) if kind.startswith("XGBoost") else (1e-9, 1e-12)
    np.testing.assert_allclose(answer, wanted, rtol=rtol, atol=atol)
    again = build_artifact("compiled", folder, into, lambda: pytest.fail("it was proved already"), LOADS)  # type: ignore[arg-type]
    assert again == proof


MIXED: dict[str, Callable[[], Any]] = {
    # Trees with up to 32 leaves and more, enough for several groups.
    "small": lambda: HistGradientBoostingClassifier(max_iter=150, max_leaf_nodes=8, min_samples_leaf=2),
    "of 32 leaves": lambda: HistGradientBoostingClassifier(
        max_iter=10, max_leaf_nodes=32, min_samples_leaf=2
    ),
    "of 33 leaves": lambda: HistGradientBoostingClassifier(
        max_iter=10, max_leaf_nodes=33, min_samples_leaf=2
    ),
    "mixed": lambda: lightgbm.LGBMClassifier(
        n_estimators=40, num_leaves=40, min_child_samples=48, verbose=-1
    ),
    "32 bits": lambda: xgboost.XGBClassifier(n_estimators=70, max_depth=5),
    "several values a leaf": lambda: RandomForestClassifier(10, max_depth=5),
}


@pytest.mark.parametrize("kind", MIXED)
@pytest.mark.filterwarnings("ignore")
def test_leaves_are_struck_out_to_the_last_bit_of_walking(kind: str, tmp_path: Path) -> None:
    model = MIXED[kind]().fit(NUMBERS, THREE if kind == "several values a leaf" else LABEL)
    forest = read_forest(tree_compiler._trees(model))
    struck = forest.groups["bounds"] >= 0
    assert struck.all() == (kind not in ("of 33 leaves", "mixed"))
    assert struck.any() == (kind != "of 33 leaves")
    assert forest.groups["count"].sum() == len(forest.trees)
    if kind == "small":
        assert list(forest.groups["count"]) == [50, 50, 50]
    tree_compiler._compile(tmp_path / tree_compiler.LIBRARY)
    forest.save(tmp_path / tree_compiler.TREES)
    loaded = Forest.load(tmp_path / tree_compiler.TREES)
    walked = loaded._replace(groups=loaded.groups[:0])
    rows = np.ascontiguousarray(NUMBERS.to_numpy())
    strange = rows.copy()
    strange[::3, 1], strange[::100, 2], strange[5, 3], strange[6, 4] = np.nan, np.nan, np.inf, -np.inf
    for given in (rows, strange, rows[:63], rows[:64], rows[:1]):
        answers = [
            TreePredictor(tmp_path / tree_compiler.LIBRARY, trees, 1)(np.ascontiguousarray(given))
            for trees in (loaded, walked)
        ]
        np.testing.assert_array_equal(answers[0], answers[1])


@pytest.mark.filterwarnings("ignore")
def test_categories_go_where_the_model_sends_them(tmp_path: Path) -> None:
    rows = NUMBERS.assign(b=np.digitize(NUMBERS["b"], np.linspace(-2, 2, 40)))
    label = (rows["b"] % 3 + rows["a"] > 1).astype(int)
    model = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1, min_child_samples=5)
    model.fit(rows, label, categorical_feature=["b"])
    assert re.search("num_cat=[1-9]", model.booster_.model_to_string())
    asked = rows.assign(b=rows["b"].astype(float))
    asked.loc[::5, "b"] = np.nan
    asked.loc[1::5, "b"] = 1000.0
    asked.loc[2::5, "b"] = -1.0
    folder = saved(model, tmp_path / "model", "predict_proba")
    proof = build_artifact("compiled", folder, tmp_path / "models" / "compiled", lambda: [asked], LOADS)
    assert (proof.rows, proof.differing) == (2000, 0)


def test_a_model_without_trees_is_refused_by_name(tmp_path: Path) -> None:
    folder = saved(LogisticRegression().fit(NUMBERS, LABEL), tmp_path / "model", "predict")
    with pytest.raises(RequestError, match="LogisticRegression") as refused:
        build_artifact("compiled", folder, tmp_path / "c", lambda: [NUMBERS], LOADS)
    assert "native" in str(refused.value)
    assert not (tmp_path / "c").exists()


def test_answers_that_differ_are_refused_with_the_largest_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(
        HistGradientBoostingClassifier(max_iter=3).fit(NUMBERS, LABEL), tmp_path / "m", "predict_proba"
    )
    other = HistGradientBoostingClassifier(max_iter=4).fit(NUMBERS, LABEL)
    trees = tree_compiler._trees
    monkeypatch.setattr(tree_compiler, "_trees", lambda model: trees(other))
    with pytest.raises(ScoringRefused, match=r"300 of 300 rows differ, by up to 0\.0"):
        build_artifact("compiled", folder, tmp_path / "c", lambda: [NUMBERS.head(300)], LOADS)
    assert not (tmp_path / "c").exists()


@pytest.fixture
def boosting(project: Path, deployment: Path) -> Path:
    """The project with a pipeline that ends in trees as its champion, and a deployment that compiles it."""
    rows = customers("2024-01-01", 2000)
    prepared = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["city"]),
        ("passthrough", ["age", "income", "visits"]),
    )
    model = make_pipeline(prepared, HistGradientBoostingClassifier(max_iter=5))
    model.fit(rows[FEATURES], rows["income"].fillna(0) > rows["income"].median())
    register(project, model, rows[FEATURES], alias="champion")
    text = deployment.read_text().replace("alias: champion}", "alias: champion, runtime: compiled}")
    deployment.write_text(text.replace("drift: {reference: data/reference/churn.json}\n", ""))
    return deployment


@pytest.mark.filterwarnings("ignore")
def test_a_run_scores_with_machine_code_and_publishes_the_models_scores(boosting: Path, cli: Any) -> None:
    native = boosting.with_name("native.yaml")
    native.write_text(
        boosting.read_text().replace(", runtime: compiled", "").replace("scores/churn", "scores/native")
    )
    for file in (boosting, native):
        done: Result = cli("run", file, "--partition", DAY)
        assert done.code == 0, done.err
    first, second = (
        pd.read_parquet(boosting.parents[1] / "scores" / name / f"date={DAY}").sort_values("customer_id")
        for name in ("churn", "native")
    )
    np.testing.assert_allclose(first["churn_probability"], second["churn_probability"], rtol=1e-9)
    tools = open_toolbox(boosting)
    scored = records_in(next((tools.layout.control / "runs" / f"date={DAY}").iterdir())).read("", ScoredBatch)
    assert scored.runtime == "compiled"
    proof = json.loads(next(tools.layout.models.glob("*.compiled-*/proof.json")).read_text())
    assert proof["rows"] > 100
    assert set(first["_run_id"]) != set(second["_run_id"])


@pytest.mark.filterwarnings("ignore")
def test_a_run_takes_a_model_that_answers_in_32_bits(project: Path, deployment: Path, cli: Any) -> None:
    rows = customers("2024-01-01", 2000)
    columns = ["age", "income", "visits"]
    model = xgboost.XGBClassifier(n_estimators=50)
    model.fit(rows[columns], rows["income"].fillna(0) > rows["income"].median())
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}", f"sqlite:///{project / 'mlflow.db'}")
    mlflow.set_tracking_uri(f"sqlite:///{project / 'mlflow.db'}")
    mlflow.set_experiment("churn")
    with mlflow.start_run():
        logged = mlflow.sklearn.log_model(
            model,
            name="model",
            registered_model_name="churn",
            signature=mlflow.models.infer_signature(rows[columns], model.predict_proba(rows[columns])),
            pyfunc_predict_fn="predict_proba",
            pip_requirements=["xgboost"],
            serialization_format="cloudpickle",
        )
    client.set_registered_model_alias("churn", "champion", str(logged.registered_model_version))
    text = deployment.read_text().replace("alias: champion}", "alias: champion, runtime: compiled}")
    deployment.write_text(text.replace("drift: {reference: data/reference/churn.json}\n", ""))
    done: Result = cli("run", deployment, "--partition", DAY)
    assert done.code == 0, done.err
    tools = open_toolbox(deployment)
    scored = records_in(next((tools.layout.control / "runs" / f"date={DAY}").iterdir())).read("", ScoredBatch)
    assert (scored.runtime, scored.rows_scored) == ("compiled", 200)


@pytest.mark.filterwarnings("ignore")
def test_a_library_that_answers_otherwise_later_is_refused_by_the_worker(
    boosting: Path, cli: Any, tmp_path: Path
) -> None:
    assert cli("run", boosting, "--partition", DAY).code == 0
    tools = open_toolbox(boosting)
    folder = next(tools.layout.models.glob("*.compiled-*"))
    wrong = HistGradientBoostingClassifier(max_iter=2).fit(NUMBERS[list("abcd")], LABEL)
    tree_compiler._write(tree_compiler._trees(wrong), folder / tree_compiler.TREES)
    # A new process, because this one has the first library loaded.
    command = [sys.executable, "-m", "batchdeploy", "run", str(boosting), "--partition", "2024-03-03"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "differs when the same rows are predicted twice" in done.stderr
    assert not tools.layout.partition_dir("date=2024-03-03").exists()


def test_a_fallback_to_native_is_said(deployment: Path, cli: Any, caplog: pytest.LogCaptureFixture) -> None:
    text = deployment.read_text()
    deployment.write_text(text.replace("alias: champion}", "alias: champion, runtime: compiled}"))
    refused = cli("run", deployment, "--partition", DAY)
    assert refused.code == 2
    assert "native" in refused.err
    deployment.write_text(
        text.replace("alias: champion}", "alias: champion, runtime: compiled, fallback: native}")
    )
    with caplog.at_level(logging.WARNING):
        assert cli("run", deployment, "--partition", DAY).code == 0
    assert "falls back to native" in caplog.text
    tools = open_toolbox(deployment)
    scored = records_in(next((tools.layout.control / "runs" / f"date={DAY}").iterdir())).read("", ScoredBatch)
    assert scored.runtime == "native"
