"""Tensors, lists, categories, structs and params: what a run scores is what MLflow's own predict answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from model_kinds import (
    DAY,
    KINDS,
    ROWS,
    Kind,
    category_frame,
    rows,
    save_booster,
    save_threshold,
    write_rows,
)
from tests_support import Result, register_folder

import batchdeploy as bd
from batchdeploy.assembly import open_toolbox
from batchdeploy.core.deployment import Deployment
from batchdeploy.core.records import ModelPin, Plan
from batchdeploy.core.scoring_spec import ScoringSpec
from batchdeploy.documents import from_json
from batchdeploy.kernel.score_table import score_table

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
NAMES = {kind: kind.replace(" ", "-") for kind in [*KINDS, "categories", "params"]}
MODELS: dict[str, Callable[[Path], None]] = {
    **{kind: found.save for kind, found in KINDS.items()},
    "categories": save_booster,
    "params": save_threshold,
}


@pytest.fixture(scope="module")
def house(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a registered model of every kind, each saved once."""
    root = tmp_path_factory.mktemp("kinds")
    shutil.copy2(template / "mlflow.db", root)
    (root / "dvc.yaml").write_text("stages: {}\n")
    uri = f"sqlite:///{root / 'mlflow.db'}"
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    saved: dict[Any, Path] = {}
    for kind, save in MODELS.items():
        if save not in saved:
            saved[save] = root / "saved" / NAMES[kind]
            save(saved[save])
        client.create_registered_model(NAMES[kind])
        register_folder(root, saved[save], name=NAMES[kind])
        (root / "saved" / f"{NAMES[kind]}.folder").write_text(str(saved[save]))
    write_rows(root, rows())
    return root


@pytest.fixture
def root(house: Path, tmp_path: Path) -> Path:
    """A copy of the project that a test may spoil; the models' files stay where they are."""
    copy = tmp_path / "project"
    shutil.copytree(house, copy, ignore=shutil.ignore_patterns("saved", "scores*"))
    return copy


def deploy(
    root: Path, kind: str, outputs: str, *, model: str = "", data: str = "", engine: str = "{kind: local}"
) -> Path:
    """Writes a deployment of a model of the project."""
    file = root / "dags" / f"{NAMES[kind]}.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(
        f"""\
name: {NAMES[kind]}
model: {{name: {NAMES[kind]}{", " + model if model else ""}}}
data:
  path: data/rows
  partition: {{column: date}}
  keys: [id]
{f"  {data}" if data else ""}
output: {{path: scores/{NAMES[kind]}, columns: {outputs}}}
engine: {engine}
"""
    )
    return file


def folder_of(house: Path, kind: str) -> str:
    return (house / "saved" / f"{NAMES[kind]}.folder").read_text()


def scores(deployment: Path) -> pd.DataFrame:
    with bd.load(deployment) as job:
        return job.run(DAY).scores.sort_values("id", ignore_index=True)


def spec_of(deployment: Deployment, pin: ModelPin) -> ScoringSpec:
    """What the kernel is given for rows in memory."""
    return ScoringSpec(
        model_version=pin.version,
        inputs=pin.inputs,
        keys=deployment.data.keys,
        keep=(),
        outputs=deployment.outputs,
        run_id="run",
        scored_at_us=0,
        max_failures=10,
        returns=pin.returns,
        params=pin.params,
        tensors=pin.tensors,
        batch_rows=25,
    )


def assert_scored(found: pd.DataFrame, wanted: dict[str, Any], *, single: bool) -> None:
    assert len(found) == ROWS
    for name, values in wanted.items():
        if found[name].dtype.kind in "fi":
            rtol, atol = (1e-6, 1e-6) if single else (1e-9, 1e-9)
            np.testing.assert_allclose(found[name], np.asarray(values), rtol=rtol, atol=atol)
        else:
            assert found[name].tolist() == list(values)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_scores_what_mlflow_answers(kind: str, house: Path) -> None:
    one: Kind = KINDS[kind]
    deployment = deploy(house, kind, one.outputs, model=one.model, data=one.data)
    answer = mlflow.pyfunc.load_model(folder_of(house, kind)).predict(one.asked(rows().to_pandas()))
    wanted = one.answers(answer)
    assert_scored(scores(deployment), wanted, single=one.single)
    tools = open_toolbox(deployment)
    pin = tools.registry.resolve(tools.deployment.model)
    predict = tools.registry.load(str(tools.registry.fetch(pin, tools.layout.models)))
    for given in (rows(), rows().to_pandas()):
        found = score_table(given, spec_of(tools.deployment, pin), predict)
        assert found.quarantined.num_rows == 0
        assert_scored(found.scored.to_pandas(), wanted, single=one.single)


def test_texts_and_numbers_become_the_categories_that_lightgbm_was_trained_with(house: Path) -> None:
    deployment = deploy(house, "categories", "{score: double}")
    booster = mlflow.lightgbm.load_model(folder_of(house, "categories"))
    frame = category_frame(rows().to_pandas())
    assert frame["city"].isna().sum() > 1, "one was not there in training, one is null"
    wanted = booster.predict(frame)
    assert_scored(scores(deployment), {"score": wanted}, single=False)
    unseen = booster.predict(
        frame.assign(city=pd.Categorical(["Bern"] * ROWS, categories=frame["city"].cat.categories))
    )
    assert not np.allclose(wanted, unseen)


def test_compiled_trees_take_categories_too(house: Path) -> None:
    deployment = deploy(house, "categories", "{score: double}", model="runtime: compiled")
    wanted = mlflow.lightgbm.load_model(folder_of(house, "categories")).predict(
        category_frame(rows().to_pandas())
    )
    assert_scored(scores(deployment), {"score": wanted}, single=False)


def test_a_graph_takes_a_tensor_in_onnx_runtime_too(house: Path) -> None:
    one = KINDS["a graph"]
    deployment = deploy(house, "a graph", one.outputs, model=f"{one.model}, runtime: onnx")
    answer = mlflow.pyfunc.load_model(folder_of(house, "a graph")).predict(one.asked(rows().to_pandas()))
    assert_scored(scores(deployment), one.answers(answer), single=True)


def plan_of(deployment: Path) -> Plan:
    with bd.load(deployment) as job:
        return job.plan(DAY)


def test_params_are_passed_pinned_and_part_of_the_run(house: Path) -> None:
    frame = rows().to_pandas()
    model = mlflow.pyfunc.load_model(folder_of(house, "params"))
    ids = []
    for given in ({}, {"threshold": 2}, {"threshold": 0.5}, {"mode": "twice", "shifts": [5]}):
        deployment = deploy(house, "params", "{score: double}", model=f"params: {json.dumps(given)}")
        planned = plan_of(deployment)
        assert planned.model.params == {"threshold": 0.5, "mode": "once", "shifts": [1, 2]} | given
        assert_scored(scores(deployment), {"score": model.predict(frame[["a"]], given)}, single=False)
        file = next((house / "scores" / "params.batchdeploy" / "runs").rglob(f"{planned.run_id}/plan.json"))
        assert from_json(Plan, file.read_text(), where=str(file)).model.params == planned.model.params
        ids.append(planned.run_id)
    assert ids[0] == ids[2], "a default that is written down is the same value"
    assert len(set(ids)) == 3


@pytest.mark.jvm
def test_spark_scores_the_same(house: Path) -> None:
    one = KINDS["a tensor of lists"]
    local = deploy(house, "a tensor of lists", one.outputs, model=one.model)
    wanted = scores(local)
    engine = "{kind: spark, master: 'local[2]'}"
    text = deploy(house, "a tensor of lists", one.outputs, model=one.model, engine=engine).read_text()
    spark = house / "dags" / "spark.yaml"
    spark.write_text(
        text.replace("name: a-tensor-of-lists\n", "name: spark\n").replace("scores/", "scores/spark-")
    )
    found = scores(spark)
    columns = ["id", *one.answers(np.zeros((1, 2)))]
    pd.testing.assert_frame_equal(found[columns], wanted[columns])


def test_lists_of_another_length_are_quarantined_or_fail(root: Path) -> None:
    table = rows()
    wide = table["wide"].to_pylist()
    wide[3], wide[7], wide[9] = wide[3][:-1], None, [*wide[9], 1.0]
    place = table.schema.get_field_index("wide")
    write_rows(root, table.set_column(place, "wide", pa.array(wide, pa.list_(pa.float32()))))
    one = KINDS["a tensor of lists"]
    deployment = deploy(root, "a tensor of lists", one.outputs, model=one.model)
    deployment.write_text(deployment.read_text() + "quarantine: {max_share: 0.1}\n")
    with bd.load(deployment) as job:
        run = job.run(DAY)
    assert sorted(run.scores["id"]) == [row for row in range(ROWS) if row not in (3, 7, 9)]
    deployment.write_text(deployment.read_text() + "policy: {wrong_length: fail}\n")
    with bd.load(deployment) as job, pytest.raises(bd.GateRefused, match="wide: wrong_length: 2 of 60 rows"):
        job.run(DAY)


REFUSED = {
    "no columns": (
        "a tensor of columns",
        "{score: double}",
        "",
        "Hint: model: {input: {columns: [a, b, c]}}",
    ),
    "too few columns": (
        "a tensor of columns",
        "{score: double}",
        "input: {columns: [a, b]}",
        "takes 3 values a row",
    ),
    "a column that is not there": (
        "a tensor of columns",
        "{score: double}",
        "input: {columns: [a, b, z]}",
        "z: the model needs it as double, the data has no such column",
    ),
    "a key": (
        "a tensor of columns",
        "{score: double}",
        "input: {columns: [a, b, id]}",
        "keys are never given to it",
    ),
    "doubles for floats": (
        "a tensor of lists",
        "{score: {type: float, select: 1}}",
        "input: {columns: [wide64]}",
        "the model wants Array(float)[6], the data holds list<element: double>",
    ),
    "an unknown param": (
        "params",
        "{score: double}",
        "params: {limit: 1}",
        "params.limit: the model has no such param",
    ),
    "a param of another type": (
        "params",
        "{score: double}",
        "params: {threshold: high}",
        "wants double, got 'high'",
    ),
    "a param that nobody reads": (
        "categories",
        "{score: double}",
        "params: {a: 1}",
        "lightgbm ignores params",
    ),
    "no such field": ("structs", "{scroe: double}", "", "write scroe: {type: double, select: result.score}"),
}


@pytest.mark.parametrize(("kind", "outputs", "model", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_the_command_line_refuses_by_name(
    root: Path, cli: Callable[..., Result], kind: str, outputs: str, model: str, said: str
) -> None:
    done = cli("plan", deploy(root, kind, outputs, model=model), "--partition", DAY)
    assert done.code == 2, done.err
    assert said in " ".join(done.err.split())
    assert not (root / "scores").exists()
