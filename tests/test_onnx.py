"""model.runtime: onnx, with ONNX Runtime: an ONNX model, or one converted to equal answers."""

from __future__ import annotations

import logging
from inspect import unwrap
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import skl2onnx
import xgboost
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tests_support import FEATURES, Result, customers, register, save_model

from batchdeploy.adapters.accelerators import AcceleratedLoader, ModelLoaders, build_artifact
from batchdeploy.adapters.accelerators.onnx_session import OnnxSession
from batchdeploy.adapters.mlflow import PredictorLoader, find_graph, load_estimator, load_predictor
from batchdeploy.assembly import open_toolbox, records_in
from batchdeploy.core.records import ScoredBatch
from batchdeploy.errors import RequestError, ScoringRefused

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
DAY = "2024-03-02"
LOADS = ModelLoaders(load_predictor, load_estimator, find_graph)
random = np.random.default_rng(5)
NUMBERS = pd.DataFrame(random.normal(size=(600, 4)), columns=list("abcd"))
LABEL = (NUMBERS.sum(axis=1) + random.normal(size=600) > 0).astype(int).to_numpy()
WORDS = np.where(LABEL, "stay", "leave")
NUMBER = NUMBERS.sum(axis=1).to_numpy()


def saved(model: Any, folder: Path, method: str) -> Path:
    return save_model(model, folder, NUMBERS, LABEL, method=method)


KINDS: dict[str, tuple[Any, Any, str]] = {
    "linear": (LogisticRegression(), LABEL, "predict_proba"),
    "linear, words": (LogisticRegression(), WORDS, "predict"),
    "a pipeline": (make_pipeline(StandardScaler(), LogisticRegression()), LABEL, "predict_proba"),
    "regression": (make_pipeline(SimpleImputer(), Ridge()), NUMBER, "predict"),
    "a network": (MLPClassifier(max_iter=20), LABEL, "predict_proba"),
    "a process": (GaussianProcessRegressor(alpha=0.5), NUMBER, "predict"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_converted_models_answer_as_the_model_does(kind: str, tmp_path: Path) -> None:
    model, label, method = KINDS[kind]
    folder = saved(model.fit(NUMBERS, label), tmp_path / "model", method)
    rows = NUMBERS.copy()
    if kind == "regression":
        rows.iloc[::7, 2] = np.nan
    into = tmp_path / "models" / "onnx"
    proof = build_artifact("onnx", folder, into, lambda: [rows], LOADS)
    assert (proof.rows, proof.differing) == (600, 0)
    predict: Any = AcceleratedLoader("onnx", str(into), LOADS, str, 1)(str(folder))
    answer, wanted = predict(rows), load_predictor(str(folder))(rows)
    assert (answer.shape, answer.dtype.kind) == (wanted.shape, wanted.dtype.kind)
    if kind == "linear, words":
        assert (answer == wanted).all()
        return
    np.testing.assert_allclose(answer, wanted, rtol=1e-9, atol=1e-12)
    if kind == "linear":
        with pytest.raises(ValueError, match="contains NaN"):
            predict(rows.assign(b=np.nan))


def test_a_conversion_that_answers_otherwise_is_refused_with_the_largest_difference(tmp_path: Path) -> None:
    model = RandomForestClassifier(20, random_state=1).fit(NUMBERS, LABEL)
    folder = saved(model, tmp_path / "model", "predict_proba")
    with pytest.raises(ScoringRefused, match=r"\d+ of 600 rows differ, by up to \d"):
        build_artifact("onnx", folder, tmp_path / "o", lambda: [NUMBERS], LOADS)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("kind", [HistGradientBoostingClassifier, xgboost.XGBClassifier])
def test_a_model_that_is_not_converted_is_refused_by_name(kind: Any, tmp_path: Path) -> None:
    folder = saved(kind(max_depth=2).fit(NUMBERS, LABEL), tmp_path / "model", "predict_proba")
    with pytest.raises(RequestError, match=f"{kind.__name__} is not converted") as refused:
        build_artifact("onnx", folder, tmp_path / "o", lambda: [NUMBERS], LOADS)
    assert "native" in str(refused.value)


def logged(project: Path, *, columns: list[str], outputs: list[str] | None = None) -> pd.DataFrame:
    """Registers an ONNX model of 32 bits as the champion; gives what it answers for the day."""
    rows = customers("2024-01-01", 2000)[["age", "visits", "customer_id"]].fillna(40.0)
    label = rows["age"] + 5 * rows["visits"] > 60
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows[columns].to_numpy("f4"), label)
    graph = skl2onnx.to_onnx(
        model,
        initial_types=[("rows", FloatTensorType([None, len(columns)]))],
        options={id(model): {"zipmap": False}},
    )
    for name in ("label", "probabilities"):
        if outputs is not None and name not in outputs:
            graph.graph.output.remove(next(o for o in graph.graph.output if o.name == name))
    mlflow.set_tracking_uri(f"sqlite:///{project / 'mlflow.db'}")
    mlflow.set_experiment("churn")
    answer = model.predict_proba(rows[columns].to_numpy("f4"))
    with mlflow.start_run():
        done = mlflow.onnx.log_model(
            graph,
            name="model",
            registered_model_name="churn",
            signature=mlflow.models.infer_signature(rows[columns].astype("float64"), answer),
            pip_requirements=["onnxruntime"],
        )
    mlflow.MlflowClient().set_registered_model_alias("churn", "champion", str(done.registered_model_version))
    day = customers(DAY, 200)[["customer_id", *columns]]
    return day.assign(score=model.predict_proba(day[columns].to_numpy("f4"))[:, 1])


def deploy(deployment: Path, runtime: str, *, extra: str = "") -> Path:
    text = deployment.read_text().replace("alias: champion}", f"alias: champion, runtime: {runtime}{extra}}}")
    deployment.write_text(text.replace("drift: {reference: data/reference/churn.json}\n", ""))
    return deployment


def test_a_run_scores_an_onnx_model_that_mlflow_itself_cannot(
    project: Path, deployment: Path, cli: Any
) -> None:
    wanted = logged(project, columns=["age", "visits"], outputs=["probabilities"])
    done: Result = cli("run", deploy(deployment, "onnx"), "--partition", DAY)
    assert done.code == 0, done.err
    scores = pd.read_parquet(project / "scores" / "churn" / f"date={DAY}").merge(wanted, on="customer_id")
    np.testing.assert_allclose(scores["churn_probability"], scores["score"], atol=1e-6)
    tools = open_toolbox(deployment)
    scored = records_in(next((tools.layout.control / "runs" / f"date={DAY}").iterdir())).read("", ScoredBatch)
    assert scored.runtime == "onnx"
    assert not list(tools.layout.models.glob("*.onnx-*/model.onnx"))


def test_a_run_scores_a_pipeline_whose_last_step_is_converted(
    project: Path, deployment: Path, cli: Any
) -> None:
    rows = customers("2024-01-01", 2000)
    prepared = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["city"]),
        (make_pipeline(SimpleImputer(), StandardScaler()), ["age", "income", "visits"]),
    )
    model = make_pipeline(prepared, LogisticRegression())
    model.fit(rows[FEATURES], rows["income"].fillna(0) > rows["income"].median())
    register(project, model, rows[FEATURES], alias="champion")
    native = deployment.with_name("native.yaml")
    native.write_text(deployment.read_text().replace("scores/churn", "scores/native"))
    deploy(native, "native")
    for file in (deploy(deployment, "onnx"), native):
        done: Result = cli("run", file, "--partition", DAY)
        assert done.code == 0, done.err
    first, second = (
        pd.read_parquet(project / "scores" / name / f"date={DAY}").sort_values("customer_id")
        for name in ("churn", "native")
    )
    np.testing.assert_allclose(first["churn_probability"], second["churn_probability"], rtol=1e-9)


def test_a_fallback_to_native_is_said(
    project: Path, deployment: Path, cli: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rows = customers("2024-01-01", 500)
    columns = ["age", "income", "visits"]
    register(
        project,
        HistGradientBoostingClassifier(max_iter=3).fit(rows[columns], rows["visits"] > 2),
        rows[columns],
        alias="champion",
    )
    with caplog.at_level(logging.WARNING):
        done: Result = cli("run", deploy(deployment, "onnx", extra=", fallback: native"), "--partition", DAY)
    assert done.code == 0, done.err
    assert "model.runtime: onnx falls back to native" in caplog.text


def test_a_graph_is_fed_by_column_where_it_has_several_inputs(tmp_path: Path) -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(NUMBERS, LABEL)
    kinds = [(name, FloatTensorType([None, 1])) for name in NUMBERS.columns]
    file = tmp_path / "model.onnx"
    graph = skl2onnx.to_onnx(model, initial_types=kinds, options={id(model): {"zipmap": False}})
    file.write_bytes(graph.SerializeToString())
    asked = OnnxSession(file, 1)
    answer = asked(NUMBERS[list("dcba")])
    assert list(answer.columns) == ["label", "probabilities_0", "probabilities_1"]
    assert asked.single
    np.testing.assert_allclose(answer["probabilities_1"], model.predict_proba(NUMBERS)[:, 1], atol=1e-5)


def test_without_a_gpu_the_processor_answers_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "model.onnx"
    graph = skl2onnx.to_onnx(
        Ridge().fit(NUMBERS, NUMBER), initial_types=[("rows", FloatTensorType([None, 4]))]
    )
    file.write_bytes(graph.SerializeToString())
    with caplog.at_level(logging.WARNING):
        answer = OnnxSession(file, 1, "cuda")(NUMBERS)
    assert "no CUDAExecutionProvider here" in caplog.text
    assert len(answer) == 600


def test_what_an_input_of_integers_cannot_hold_is_refused(tmp_path: Path) -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(NUMBERS.round(), LABEL)
    kinds = [(name, Int64TensorType([None, 1])) for name in NUMBERS.columns]
    file = tmp_path / "model.onnx"
    graph = skl2onnx.to_onnx(model, initial_types=kinds, options={id(model): {"zipmap": False}})
    file.write_bytes(graph.SerializeToString())
    asked = OnnxSession(file, 1)
    answer = asked(NUMBERS.round())
    np.testing.assert_array_equal(answer["label"], model.predict(NUMBERS.round()))
    for bad in (0.5, np.nan):
        with pytest.raises(ValueError, match="b takes int64; a value is missing, or is none"):
            asked(NUMBERS.round().assign(b=bad))


def test_another_method_than_those_that_are_replaced_is_refused(tmp_path: Path) -> None:
    folder = saved(LogisticRegression().fit(NUMBERS, LABEL), tmp_path / "model", "predict_log_proba")
    with pytest.raises(RequestError, match="it answers by predict_log_proba"):
        build_artifact("onnx", folder, tmp_path / "o", lambda: [NUMBERS], LOADS)


def test_what_a_sparse_encoder_gives_is_taken(tmp_path: Path) -> None:
    rows = NUMBERS.assign(city=WORDS)
    columns = make_column_transformer(
        (OneHotEncoder(), ["city"]), remainder="passthrough", sparse_threshold=1
    )
    model = make_pipeline(columns, LogisticRegression()).fit(rows, LABEL)
    folder = saved(model, tmp_path / "model", "predict_proba")
    proof = build_artifact("onnx", folder, tmp_path / "o", lambda: [rows], LOADS)
    assert (proof.rows, proof.differing) == (600, 0)


def test_rows_that_the_model_itself_fails_on_prove_nothing(tmp_path: Path) -> None:
    folder = saved(LogisticRegression().fit(NUMBERS, LABEL), tmp_path / "model", "predict_proba")
    some = NUMBERS.copy()
    some.iloc[[3, 77, 599], 1] = np.nan
    assert build_artifact("onnx", folder, tmp_path / "o", lambda: [some], LOADS).rows == 597
    none = NUMBERS.head(5).assign(b=np.nan)
    assert build_artifact("onnx", folder, tmp_path / "other", lambda: [none], LOADS).rows == 0
    assert not (tmp_path / "other").exists()


def test_what_was_left_of_a_removed_one_is_made_again(tmp_path: Path) -> None:
    folder = saved(LogisticRegression().fit(NUMBERS, LABEL), tmp_path / "model", "predict_proba")
    into = tmp_path / "o"
    into.mkdir()
    (into / "model.onnx").write_bytes(b"half")
    assert build_artifact("onnx", folder, into, lambda: [NUMBERS], LOADS).rows == 600
    assert (into / "model.onnx").stat().st_size > 100


def test_a_graph_that_cannot_be_asked_is_refused(tmp_path: Path) -> None:
    folder = saved(LogisticRegression().fit(NUMBERS, LABEL), tmp_path / "model", "predict_proba")
    (folder / "broken.onnx").write_bytes(b"no graph")
    loaders = LOADS._replace(graph=lambda folder: f"{folder}/broken.onnx")
    with pytest.raises(ScoringRefused, match="the onnx model: fails to predict"):
        build_artifact("onnx", folder, tmp_path / "o", lambda: [NUMBERS], loaders)


def test_xgboost_is_told_its_device(tmp_path: Path) -> None:
    model = xgboost.XGBClassifier(n_estimators=3).fit(NUMBERS, LABEL)
    folder = saved(model, tmp_path / "model", "predict_proba")
    bound: Any = PredictorLoader("cuda")(str(folder))
    assert unwrap(bound).__self__.get_params()["device"] == "cuda"
    assert PredictorLoader("cuda") == PredictorLoader("cuda")
    np.testing.assert_allclose(bound(NUMBERS), model.predict_proba(NUMBERS), atol=1e-6)
