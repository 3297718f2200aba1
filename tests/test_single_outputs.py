"""A model of 32-bit floats whose one output has no name, as ONNX and PyTorch make them, on other numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skl2onnx
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec
from skl2onnx.common.data_types import FloatTensorType
from sklearn.linear_model import Ridge
from tests_support import SCHEMA, Result, customers, edit

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
DAY = "2024-03-02"
COLUMNS = ["age", "visits"]


@pytest.fixture
def progression(project: Path) -> tuple[Path, pd.Series]:
    """The deployment, its model, and what it answers; ``age`` is a double, ``visits`` a decimal."""
    rows = customers("2024-01-01", 500)
    model = Ridge().fit(rows[COLUMNS].to_numpy("f4"), rows["age"] / 3 + rows["visits"])
    graph = skl2onnx.to_onnx(model, initial_types=[("rows", FloatTensorType([None, 2]))])
    signature = ModelSignature(
        Schema([ColSpec("float", name) for name in COLUMNS]), Schema([TensorSpec(np.dtype("f4"), (-1, 1))])
    )
    mlflow.onnx.save_model(graph, project / "graph", signature=signature, pip_requirements=["onnxruntime"])
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{project / 'mlflow.db'}")
    version = client.create_model_version("churn", (project / "graph").as_uri()).version
    client.set_registered_model_alias("churn", "champion", str(version))
    day = customers(DAY)
    table = pa.Table.from_pandas(day, schema=SCHEMA, preserve_index=False)
    decimals = table["visits"].cast(pa.decimal128(19, 0)).cast(pa.decimal128(21, 2))
    file = project / "data" / "customers" / f"date={DAY}" / "part-0.parquet"
    pq.write_table(table.set_column(3, "visits", decimals), file)
    edit("churn_probability: {type: double, select: 1}", "progression: double")(project)
    edit("drift: {reference: data/reference/churn.json}\n", "")(project)
    answers = model.predict(day[COLUMNS].to_numpy("f4"))
    return project / "dags" / "churn.yaml", pd.Series(answers, index=day["customer_id"]).sort_index()


def test_such_a_model_scores_once_the_line_of_the_message_is_written(
    progression: tuple[Path, pd.Series], project: Path, cli: Callable[..., Result]
) -> None:
    deployment, answers = progression
    refused = cli("run", deployment, "--partition", DAY)
    assert refused.code == 2, refused.err
    assert "age: the model wants float, the data holds double; data: {casts: {age: float}}" in refused.err
    assert "visits: the model wants float, the data holds decimal128(21, 2); data:" in refused.err
    line = "casts: {age: float, visits: float}"
    assert f"Hint: data: {{{line}}}" in refused.err
    edit("keys: [customer_id]", f"keys: [customer_id]\n  {line}")(project)
    done = cli("run", deployment, "--partition", DAY, "--json")
    assert done.code == 0, done.err
    assert done.json["manifest"]["rows_scored"] == 200
    published = pd.read_parquet(project / "scores" / "churn").set_index("customer_id").sort_index()
    np.testing.assert_allclose(published["progression"], answers, rtol=1e-5)


def test_its_name_for_the_output_is_refused_with_the_line_to_write(
    progression: tuple[Path, pd.Series], project: Path, cli: Callable[..., Result]
) -> None:
    deployment, _ = progression
    edit("keys: [customer_id]", "keys: [customer_id]\n  casts: {age: float, visits: float}")(project)
    edit("progression: double", "progression: {type: double, select: variable}")(project)
    refused = cli("check", deployment)
    assert refused.code == 2, refused.err
    assert (
        "has 1 column without names, counted from 0; write progression: {type: double, select: 0}"
        in refused.err
    )
    edit("select: variable", "select: 0")(project)
    assert cli("run", deployment, "--partition", DAY).code == 0
