"""MLflow's signatures: which columns and params a model takes, or the line that is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import Array, Map, Object, Property

from batchdeploy.adapters.mlflow.params import read_params
from batchdeploy.adapters.mlflow.signatures import read_signature
from batchdeploy.core.model_ref import InputSpec
from batchdeploy.errors import RequestError


def tensor(*shape: int, kind: str = "float32", name: str | None = None) -> TensorSpec:
    return TensorSpec(np.dtype(kind), shape, name)


def signature(*inputs: Any, outputs: Any = None) -> ModelSignature:
    return ModelSignature(Schema(list(inputs)), outputs)


# What the model takes, the deployment's model.input, the columns' types, and each tensor's columns.
TAKEN: dict[str, tuple[Any, InputSpec | None, dict[str, str], list[tuple[str, ...]]]] = {
    "columns": (
        signature(tensor(-1, 2)),
        InputSpec(columns=("b", "a")),
        {"b": "float", "a": "float"},
        [("b", "a")],
    ),
    "a column of lists": (
        signature(tensor(-1, 2, 3)),
        InputSpec(columns=("x",)),
        {"x": "Array(float)[6]"},
        [("x",)],
    ),
    "one value": (signature(tensor(-1, kind="int64")), InputSpec(columns=("x",)), {"x": "long"}, [("x",)]),
    "a column a value, of two dimensions": (
        signature(tensor(-1, 2, 1, kind="uint8")),
        InputSpec(columns=("a", "b")),
        {"a": "uint8", "b": "uint8"},
        [("a", "b")],
    ),
    "tensors by their names": (
        signature(tensor(-1, 2, name="x"), tensor(-1, kind="bool", name="k")),
        None,
        {"x": "Array(float)[2]", "k": "boolean"},
        [("x",), ("k",)],
    ),
    "some of them mapped": (
        signature(tensor(-1, 2, name="x"), tensor(-1, kind="float64", name="k")),
        InputSpec(tensors={"x": ("a", "b")}),
        {"a": "float", "b": "float", "k": "double"},
        [("a", "b"), ("k",)],
    ),
    "a column in two tensors": (
        signature(tensor(-1, 2, name="x"), tensor(-1, 1, name="k")),
        InputSpec(tensors={"x": ("a", "b"), "k": ("a",)}),
        {"a": "float", "b": "float"},
        [("a", "b"), ("a",)],
    ),
    "columns of lists": (
        signature(ColSpec(Array(DataType.double), "x"), ColSpec("string", "s")),
        None,
        {"x": "Array(double)", "s": "string"},
        [],
    ),
    "columns without names": (
        signature(ColSpec("double"), ColSpec("long")),
        InputSpec(columns=("a", "b")),
        {"a": "double", "b": "long"},
        [],
    ),
}


@pytest.mark.parametrize(("given", "spec", "types", "tensors"), TAKEN.values(), ids=TAKEN.keys())
def test_the_columns_of_a_signature(given: Any, spec: Any, types: Any, tensors: Any) -> None:
    found = read_signature(given, spec, "m version 1")
    assert {column.name: column.type for column in found.inputs} == types
    assert [one.columns for one in found.tensors] == tensors


ONE, TWO = InputSpec(columns=("a",)), InputSpec(columns=("a", "b"))
REFUSED: dict[str, tuple[Any, InputSpec | None, str]] = {
    "no signature": (None, None, "has no signature"),
    "no columns": (
        signature(tensor(-1, 3)),
        None,
        "a tensor of float32 and shape (-1, 3), which names no columns",
    ),
    "the line to write": (signature(tensor(-1, 3)), None, "Hint: model: {input: {columns: [a, b, c]}}"),
    "too few": (signature(tensor(-1, 3)), TWO, "takes 3 values a row, or one column of lists, got 2 columns"),
    "a fixed batch": (
        signature(tensor(32, 3)),
        ONE,
        "a fixed number of rows; log the model with a signature whose shape",
    ),
    "rows without a shape": (signature(tensor(-1, -1)), ONE, "rows of the tensor have no fixed shape"),
    "complex numbers": (signature(tensor(-1, 1, kind="complex64")), ONE, "cannot be filled from columns"),
    "several tensors": (
        signature(tensor(-1, name="x"), tensor(-1, name="k")),
        ONE,
        "takes 2 tensors; name the columns of each under model.input.tensors, got x, k",
    ),
    "no such tensor": (
        signature(tensor(-1, name="x")),
        InputSpec(tensors={"y": ("a",)}),
        "model.input.tensors.y: the model has no such tensor: its tensors are x",
    ),
    "a tensor without a name": (
        signature(tensor(-1, 1)),
        InputSpec(tensors={"y": ("a",)}),
        "its only tensor has no name; use columns",
    ),
    "two types of a column": (
        signature(tensor(-1, name="x"), tensor(-1, kind="int64", name="k")),
        InputSpec(tensors={"x": ("a",), "k": ("a",)}),
        "a is float in another tensor, and long in this one",
    ),
    "columns that have names": (
        signature(ColSpec("double", "a")),
        ONE,
        "names the model's columns already; leave it out",
    ),
    "columns that have none": (signature(ColSpec("double"), ColSpec("long")), ONE, "2 columns have no names"),
}


@pytest.mark.parametrize(("given", "spec", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_signature_that_says_too_little_is_refused_with_the_remedy(
    given: Any, spec: Any, said: str
) -> None:
    with pytest.raises(RequestError) as refused:
        read_signature(given, spec, "m version 1")
    assert said in str(refused.value)
    assert "m version 1" in str(refused.value)


RESULT = Object([Property("score", DataType.double), Property("odds", Map(DataType.double))])
RETURNED: dict[str, tuple[Any, str, dict[str, str]]] = {
    "a struct": (
        Schema([ColSpec(RESULT, "r"), ColSpec("long", "n")]),
        "struct",
        {
            "r.score": "double",
            "r.odds": "Map Map(str -> DataType.double)",
            "n": "long",
        },
    ),
    "a struct without a name": (
        Schema([ColSpec(RESULT)]),
        "struct",
        {
            "score": "double",
            "odds": "Map Map(str -> DataType.double)",
        },
    ),
    "lists": (Schema([ColSpec(Array(DataType.double), "v")]), "struct", {"v": "Array(double)"}),
    "several tensors": (
        Schema([tensor(-1, 2, name="p"), tensor(-1, 1, name="q")]),
        "struct",
        {
            "p.0": "float32",
            "p.1": "float32",
            "q": "float32",
        },
    ),
    "one tensor": (Schema([tensor(-1, 2, name="p")]), "array", {"0": "float32", "1": "float32"}),
    "a tensor of any width": (Schema([tensor(-1, -1)]), "unknown", {}),
    "columns": (Schema([ColSpec("double", "a")]), "frame", {"a": "double"}),
}


@pytest.mark.parametrize(("outputs", "returns", "types"), RETURNED.values(), ids=RETURNED.keys())
def test_the_columns_of_an_answer(outputs: Any, returns: str, types: Any) -> None:
    found = read_signature(signature(ColSpec("double", "a"), outputs=outputs), None, "m version 1")
    assert (found.returns, {column.name: column.type for column in found.outputs}) == (returns, types)


PARAMS = ParamSchema(
    [
        ParamSpec("level", "double", 0.5),
        ParamSpec("count", "long", 3),
        ParamSpec("mode", "string", "once"),
        ParamSpec("exact", "boolean", False),
        ParamSpec("since", "datetime", np.datetime64("2024-01-01")),
        ParamSpec("steps", "long", [1, 2], (-1,)),
        ParamSpec("more", Object([Property("k", DataType.long)]), {"k": 1}),
    ]
)
DEFAULTS = {
    **{"level": 0.5, "count": 3, "mode": "once", "exact": False, "steps": [1, 2], "more": {"k": 1}},
    "since": "2024-01-01",
}


def test_params_have_the_models_defaults_and_its_types() -> None:
    assert read_params(PARAMS, None, "mlflow.pyfunc.model", where="m") == DEFAULTS
    given = {"level": 2, "since": "2025-02-03", "steps": [5], "more": {"k": 9}, "exact": True}
    found = read_params(PARAMS, given, "mlflow.pyfunc.model", where="m")
    assert found == DEFAULTS | given
    assert isinstance(found["level"], float)
    assert read_params(None, None, "mlflow.pyfunc.model", where="m") == {}
    assert read_params(PARAMS, None, "mlflow.sklearn", where="m") == {}, "that flavor passes none on"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"levle": 1}, "model.params.levle: the model has no such param; it takes level, count, mode"),
    "text for a number": ({"level": "high"}, "model.params.level: the model wants double, got 'high'"),
    "a number for text": ({"mode": 3}, "model.params.mode: the model wants string, got 3"),
    "true for a number": ({"count": True}, "model.params.count: the model wants long, got True"),
    "a fraction for a long": ({"count": 1.5}, "model.params.count: the model wants long, got 1.5"),
    "one for a list": ({"steps": 3}, "model.params.steps: the model wants a list of long, got 3"),
    "true in a list": ({"steps": [1, True]}, "the model wants a list of long, got [1, True]"),
    "no date": ({"since": "soon"}, "model.params.since: the model wants datetime, got 'soon'"),
    "null": ({"level": None}, "the model wants double; leave it out for the default, got None"),
    "another struct": ({"more": {"j": 1}}, "model.params.more: the model wants {k: long (required)}"),
}


@pytest.mark.parametrize(("given", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_param_that_the_model_cannot_take_is_refused_by_name(given: Any, said: str) -> None:
    with pytest.raises(RequestError) as refused:
        read_params(PARAMS, given, "mlflow.pyfunc.model", where="m version 1")
    assert said in str(refused.value)


def test_every_wrong_param_is_named_and_those_that_would_be_ignored() -> None:
    with pytest.raises(RequestError, match="2 problems in model m"):
        read_params(PARAMS, {"a": 1, "level": "x"}, "mlflow.pyfunc.model", where="m")
    with pytest.raises(RequestError, match="MLflow's flavor lightgbm ignores params"):
        read_params(PARAMS, {"level": 1}, "mlflow.lightgbm", where="m")
    with pytest.raises(
        RequestError, match=r"none: log the model again with infer_signature\(\.\.\., params="
    ):
        read_params(None, {"level": 1}, "mlflow.pyfunc.model", where="m")
