"""Models of every kind of signature, saved as MLflow lays them out, and the rows they are asked about."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

DAY = "2024-03-01"
ROWS = 60
CITIES = ["Bern", "Genève", "Zürich"]


def rows() -> pa.Table:
    """Rows with numbers, lists and text; some of the text was not there in training, some is null."""
    random = np.random.default_rng(3)
    numbers = random.normal(size=(ROWS, 6))
    city: list[str | None] = random.choice([*CITIES, "Nowhere"], ROWS).tolist()
    city[5] = None
    wide = pa.array(numbers.astype("float32").tolist(), pa.list_(pa.float32()))
    ragged = [list(row[: 1 + place % 5]) for place, row in enumerate(numbers)]
    return pa.table(
        {
            "id": pa.array(range(ROWS), pa.int64()),
            **{name: pa.array(numbers[:, place]) for place, name in enumerate("abc")},
            **{f"f{place}": pa.array(numbers[:, place].astype("float32")) for place in range(3)},
            "whole": pa.array(random.integers(0, 9, ROWS)),
            "wide": wide,
            "wide64": pa.array(numbers.tolist(), pa.list_(pa.float64())),
            "fixed": wide.cast(pa.list_(pa.float32(), 6)),
            "grid": pa.array(
                numbers.astype("float32").reshape(ROWS, 2, 3).tolist(), pa.list_(pa.list_(pa.float32()))
            ),
            "ragged": pa.array(ragged, pa.list_(pa.float64())),
            "words": pa.array([[name, "x"] for name in city], pa.list_(pa.string())),
            "city": pa.array(city),
            "level": pa.array(random.choice([3, 5, 9, 11], ROWS)),
        }
    )


def write_rows(root: Path, table: pa.Table, day: str = DAY) -> None:
    """Writes the rows as a partition of the project."""
    file = root / "data" / "rows" / f"date={day}" / "part-0.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=25)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of model.

    Attributes:
        save: writes the model into a folder.
        outputs: the YAML of ``output.columns``.
        model: the YAML of further keys of ``model``.
        asked: what MLflow's own ``predict`` is given for the rows.
        answers: MLflow's answer to a column for each declared output.
        single: whether the model answers in 32 bits.
        data: the YAML of further keys of ``data``.
    """

    save: Callable[[Path], None]
    outputs: str
    asked: Callable[[pd.DataFrame], Any]
    answers: Callable[[Any], dict[str, Any]]
    model: str = ""
    data: str = ""
    single: bool = False


def columns(*names: str) -> Callable[[pd.DataFrame], Any]:
    return lambda frame: frame[list(names)]


def stacked(column: str) -> Callable[[pd.DataFrame], Any]:
    return lambda frame: np.stack(frame[column].tolist()).astype("float32").reshape(len(frame), 2, 3)


def _schema(*specs: Any) -> Any:
    from mlflow.types import Schema

    return Schema(list(specs))


def _tensor(kind: str, *shape: int, name: str | None = None) -> Any:
    from mlflow.types import TensorSpec

    return TensorSpec(np.dtype(kind), shape, name)


def _save(
    folder: Path, answer: Callable[..., Any], inputs: Any, outputs: Any = None, params: Any = None
) -> None:
    """A model that is a Python function of its input, saved by value."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ParamSchema

    class Model(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
            return answer(model_input, params) if takes_params else answer(model_input)

    takes_params = params is not None
    signature = ModelSignature(inputs, outputs, ParamSchema(params) if params else None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(
            folder, python_model=Model(), signature=signature, pip_requirements=["numpy"]
        )


def save_linear(folder: Path) -> None:
    """Fitted on a matrix, so that its signature is a tensor."""
    import mlflow
    from sklearn.linear_model import LinearRegression

    matrix = np.random.default_rng(0).normal(size=(40, 3))
    model = LinearRegression().fit(matrix, matrix @ [1.0, -2.0, 0.3])
    signature = mlflow.models.infer_signature(matrix, model.predict(matrix))
    mlflow.sklearn.save_model(
        model,
        folder,
        signature=signature,
        serialization_format="cloudpickle",
        pip_requirements=["scikit-learn"],
    )


def save_network(folder: Path) -> None:
    """What PyTorch's flavor takes and gives: one array of several dimensions of 32-bit floats."""
    weights = np.arange(12, dtype="float32").reshape(2, 3, 2) / 7

    def answer(given: Any) -> Any:
        assert given.shape[1:] == (2, 3), given.shape
        assert given.dtype == np.float32, given.dtype
        return np.tanh(np.einsum("nij,ijk->nk", given, weights))

    _save(folder, answer, _schema(_tensor("float32", -1, 2, 3)), _schema(_tensor("float32", -1, 2)))


def save_two_tensors(folder: Path) -> None:
    """What Keras' flavor takes and gives where a network has several inputs: dictionaries of arrays."""

    def answer(given: Any) -> Any:
        x, k = given["x"], given["whole"]
        assert (x.dtype, k.dtype) == (np.float32, np.int64)
        return {"p": x[:, :2] * k[:, None], "q": x.sum(axis=1, keepdims=True)}

    _save(
        folder,
        answer,
        _schema(_tensor("float32", -1, 3, name="x"), _tensor("int64", -1, name="whole")),
        _schema(_tensor("float32", -1, 2, name="p"), _tensor("float32", -1, 1, name="q")),
    )


def save_graph(folder: Path) -> None:
    """An ONNX graph, whose signature is a tensor by its name."""
    import mlflow
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.array([[1.0], [-2.0], [0.5]], dtype="float32"), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weights"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    signature = mlflow.models.ModelSignature(
        _schema(_tensor("float32", -1, 3, name="x")), _schema(_tensor("float32", -1, 1, name="y"))
    )
    mlflow.onnx.save_model(model, folder, signature=signature, pip_requirements=["onnxruntime"])


def save_arrays(folder: Path) -> None:
    """Takes a frame with a list of numbers and one of texts for each row."""
    from mlflow.types import ColSpec, DataType
    from mlflow.types.schema import Array

    def answer(frame: Any) -> Any:
        total = [float(np.sum(row)) for row in frame["ragged"]]
        known = [sum(word == "Bern" for word in row) for row in frame["words"]]
        return np.array(total) * frame["a"].to_numpy() + np.array(known)

    inputs = _schema(
        ColSpec(Array(DataType.double), "ragged"),
        ColSpec("double", "a"),
        ColSpec(Array(DataType.string), "words"),
    )
    _save(folder, answer, inputs, _schema(_tensor("float64", -1)))


def category_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows as a person gives them to LightGBM."""
    return pd.DataFrame(
        {
            "a": frame["a"],
            "city": pd.Categorical(frame["city"], categories=CITIES),
            "level": pd.Categorical(frame["level"], categories=[3, 5, 9]),
        }
    )


def save_booster(folder: Path) -> None:
    """Trained on categories of texts and of numbers."""
    import lightgbm
    import mlflow

    random = np.random.default_rng(1)
    frame = category_frame(
        pd.DataFrame(
            {
                "a": random.normal(size=800),
                "city": random.choice(CITIES, 800),
                "level": random.choice([3, 5, 9], 800),
            }
        )
    )
    label = frame["a"] + 2 * frame["city"].cat.codes - frame["level"].cat.codes * frame["a"]
    settings = {"objective": "regression", "verbose": -1, "num_threads": 1, "min_data_per_group": 5}
    booster = lightgbm.train(settings, lightgbm.Dataset(frame, label), 20)
    signature = mlflow.models.infer_signature(frame, booster.predict(frame))
    mlflow.lightgbm.save_model(booster, folder, signature=signature, pip_requirements=["lightgbm"])


def save_structs(folder: Path) -> None:
    """Gives a frame with a struct for each row, and says so in its signature."""
    from mlflow.types import ColSpec, DataType
    from mlflow.types.schema import Array, Map, Object, Property

    def answer(frame: Any) -> Any:
        found = []
        for value in frame["a"]:
            label = "up" if value > 0 else "down"
            votes = {"up": int(value > 0), "down": int(value <= 0)}
            inner = {"spread": float(value) ** 2, "ends": [float(value), float(value) + 1]}
            found.append({"score": float(value) / 3, "label": label, "votes": votes, "inner": inner})
        return pd.DataFrame({"result": found, "plain": frame["a"] * 2})

    inner = Object([Property("spread", DataType.double), Property("ends", Array(DataType.double))])
    result = Object(
        [
            Property("score", DataType.double),
            Property("label", DataType.string),
            Property("votes", Map(DataType.long)),
            Property("inner", inner),
        ]
    )
    _save(
        folder,
        answer,
        _schema(ColSpec("double", "a")),
        _schema(ColSpec(result, "result"), ColSpec("double", "plain")),
    )


def save_dictionaries(folder: Path) -> None:
    """Gives a dictionary for each row, of which its signature says nothing."""
    from mlflow.types import ColSpec

    def answer(frame: Any) -> Any:
        return [{"score": {"value": float(value) + 1}, "note": f"{value:.1f}"} for value in frame["a"]]

    _save(folder, answer, _schema(ColSpec("double", "a")))


def save_threshold(folder: Path) -> None:
    """Takes params."""
    from mlflow.types import ColSpec
    from mlflow.types.schema import ParamSpec

    def answer(frame: Any, params: Any) -> Any:
        shift = sum(params["shifts"])
        return (frame["a"].to_numpy() - params["threshold"]) * (2 if params["mode"] == "twice" else 1) + shift

    _save(
        folder,
        answer,
        _schema(ColSpec("double", "a")),
        _schema(_tensor("float64", -1)),
        [
            ParamSpec("threshold", "double", 0.5),
            ParamSpec("mode", "string", "once"),
            ParamSpec("shifts", "long", [1, 2], (-1,)),
        ],
    )


LISTS = Kind(
    save=save_network,
    model="input: {columns: [wide]}",
    outputs="{score: {type: float, select: 1}}",
    asked=stacked("wide"),
    answers=lambda answer: {"score": answer[:, 1]},
    single=True,
)

KINDS: dict[str, Kind] = {
    "a tensor of columns": Kind(
        save=save_linear,
        model="input: {columns: [c, a, b]}",
        outputs="{score: double}",
        asked=lambda frame: frame[["c", "a", "b"]].to_numpy(),
        answers=lambda answer: {"score": answer},
    ),
    "a tensor of lists": replace(
        LISTS,
        outputs="{score: {type: float, select: 1}, other: {type: double, select: 0}}",
        answers=lambda answer: {"score": answer[:, 1], "other": answer[:, 0]},
    ),
    "a tensor of lists of a fixed length": replace(LISTS, model="input: {columns: [fixed]}"),
    "a tensor of nested lists": replace(LISTS, model="input: {columns: [grid]}"),
    "a tensor of lists that are cast": replace(
        LISTS, model="input: {columns: [wide64]}", data="casts: {wide64: float}", asked=stacked("wide64")
    ),
    "two tensors": Kind(
        save=save_two_tensors,
        model="input: {tensors: {x: [f2, f0, f1]}}",
        outputs="{p.1: float, total: {type: float, select: q}}",
        asked=lambda frame: {"x": frame[["f2", "f0", "f1"]].to_numpy(), "whole": frame["whole"].to_numpy()},
        answers=lambda answer: {"p.1": answer["p"][:, 1], "total": answer["q"][:, 0]},
        single=True,
    ),
    "a graph": Kind(
        save=save_graph,
        model="input: {columns: [f0, f1, f2]}",
        outputs="{score: float}",
        asked=lambda frame: {"x": frame[["f0", "f1", "f2"]].to_numpy()},
        answers=lambda answer: {"score": answer["y"][:, 0]},
        single=True,
    ),
    "arrays": Kind(
        save=save_arrays,
        outputs="{score: double}",
        asked=columns("ragged", "a", "words"),
        answers=lambda answer: {"score": answer},
    ),
    "structs": Kind(
        save=save_structs,
        outputs="{result.score: double, label: {type: string, select: result.label}, "
        "votes: {type: long, select: result.votes.up}, end: {type: double, select: result.inner.ends.1}, "
        "plain: double}",
        asked=columns("a"),
        answers=lambda answer: {
            "result.score": [one["score"] for one in answer["result"]],
            "label": [one["label"] for one in answer["result"]],
            "votes": [one["votes"]["up"] for one in answer["result"]],
            "end": [one["inner"]["ends"][1] for one in answer["result"]],
            "plain": answer["plain"],
        },
    ),
    "dictionaries": Kind(
        save=save_dictionaries,
        outputs="{score.value: double, note: string}",
        asked=columns("a"),
        answers=lambda answer: {
            "score.value": [one["score"]["value"] for one in answer],
            "note": [one["note"] for one in answer],
        },
    ),
}
