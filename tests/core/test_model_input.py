"""Lists, tensors, structs and params in the checks that come before any row is read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from batchdeploy.core.column_types import ArrayType, list_type
from batchdeploy.core.contract import casts_hint, contract
from batchdeploy.core.deployment import DataRef, Deployment, ModelRef, OutputColumn, OutputRef, PartitionSpec
from batchdeploy.core.deployment_checks import deployment_problems
from batchdeploy.core.model_ref import InputSpec
from batchdeploy.core.records import Column, InputSchema, ModelPin

DEPLOYMENT = Deployment(
    name="d",
    model=ModelRef(name="m"),
    data=DataRef(path="data", partition=PartitionSpec(column="date"), keys=("id",)),
    output=OutputRef(path="scores", columns={"y": "double"}),
)
MODEL = ModelPin(
    name="m",
    version=1,
    model_id="x",
    digest="d",
    alias="champion",
    inputs=(),
    outputs=(Column(name="y", type="double"),),
    returns="frame",
)

LISTS = {
    "list<element: double>": ArrayType("double", None),
    "list<item: float not null>": ArrayType("float", None),
    "large_list<item: string>": ArrayType("string", None),
    "list_view<item: int64>": ArrayType("int64", None),
    "fixed_size_list<item: float>[12]": ArrayType("float", 12),
    "list<item: list<item: int8>>": ArrayType("int8", None),
    "fixed_size_list<item: fixed_size_list<item: float>[3]>[2]": ArrayType("float", 6),
    "list<item: timestamp[us, tz=UTC]>": ArrayType("timestamp[us, tz=UTC]", None),
    "double": None,
    "struct<a: list<item: double>>": None,
}


@pytest.mark.parametrize(("name", "wanted"), LISTS.items(), ids=LISTS.keys())
def test_reads_arrows_list_types(name: str, wanted: ArrayType | None) -> None:
    assert list_type(name) == wanted


# The model's type, the data's, and the problem; None where they fit.
INPUTS: dict[str, tuple[str, str, str | None]] = {
    "a list": ("Array(double)", "list<element: double>", None),
    "integers for doubles": ("Array(double)", "list<element: int32>", None),
    "a fixed length": ("Array(float)[4]", "fixed_size_list<item: float>[4]", None),
    "a length that rows will tell": ("Array(float)[4]", "list<item: float>", None),
    "another fixed length": (
        "Array(float)[4]",
        "fixed_size_list<item: float>[3]",
        "the data holds fixed_size_list",
    ),
    "no list": ("Array(double)", "double", "x: the model wants Array(double), the data holds double"),
    "a list for a number": (
        "double",
        "list<item: double>",
        "x: the model wants double, the data holds list<item",
    ),
    "texts for numbers": ("Array(double)", "list<item: string>", "the model wants Array(double)"),
    "bytes": ("uint8", "uint8", None),
    "wide integers for bytes": ("uint8", "int64", "the model wants uint8, the data holds int64"),
    "a struct": (
        "Object {a: double}",
        "struct<a: double>",
        "not supported; log the model with a column for each property",
    ),
    "a map": (
        "Map Map(str)",
        "map<string, double>",
        "not supported; log the model with a column for each key",
    ),
    "lists of lists": ("Array Array(Array(double))", "list<item: double>", "lists of boolean, integer, long"),
    "anything": ("AnyType Any", "string", "not supported; log the model with columns of plain types"),
}


@pytest.mark.parametrize(("wanted", "found", "said"), INPUTS.values(), ids=INPUTS.keys())
def test_lists_must_fit_the_models(wanted: str, found: str, said: str | None) -> None:
    model = replace(MODEL, inputs=(Column(name="x", type=wanted),))
    columns = (Column(name="id", type="string"), Column(name="x", type=found))
    problems = contract(DEPLOYMENT, model, InputSchema(columns=columns, file_rows=(1,)))
    if said is None:
        assert problems == ()
    else:
        (problem,) = problems
        assert said in str(problem)


def test_elements_are_cast_where_the_deployment_says_so() -> None:
    model = replace(MODEL, inputs=(Column(name="x", type="Array(float)[4]"),))
    columns = (Column(name="id", type="string"), Column(name="x", type="list<item: double>"))
    schema = InputSchema(columns=columns, file_rows=(1,))
    assert "casts: {x: float}" in str(casts_hint(DEPLOYMENT, model, schema))
    cast = replace(DEPLOYMENT, data=replace(DEPLOYMENT.data, casts={"x": "float"}))
    assert contract(cast, model, schema) == ()


STRUCT = replace(
    MODEL,
    returns="struct",
    outputs=(
        Column(name="r.score", type="double"),
        Column(name="r.odds", type="Map Map(str -> DataType.double)"),
        Column(name="r.ends", type="Array(double)"),
    ),
)
D = "double"
OUTPUTS: dict[str, tuple[dict[str, Any], str | None]] = {
    "a field": ({"r.score": D}, None),
    "fields in another order": ({"r.odds.up": D, "r.score": D}, None),
    "another name": ({"score": OutputColumn(type="double", select="r.score")}, None),
    "a place in a list": ({"r.ends.1": D}, None),
    "no such field": (
        {"score": D},
        "output.columns.score: the model's answer has the fields r.score, r.odds, r.ends; write "
        "score: {type: double, select: r.score}",
    ),
    "a whole list": ({"r.ends": D}, "is Array(double); take one value of it by r.ends.0"),
    "a whole map": ({"r.odds": D}, "take one value of it by r.odds.KEY"),
    "a position": ({"y": OutputColumn(type="double", select=0)}, "has the fields r.score"),
}


@pytest.mark.parametrize(("columns", "said"), OUTPUTS.values(), ids=OUTPUTS.keys())
def test_fields_of_structs_are_outputs_by_dotted_names(columns: dict[str, Any], said: str | None) -> None:
    deployment = replace(DEPLOYMENT, output=replace(DEPLOYMENT.output, columns=columns))
    schema = InputSchema(columns=(Column(name="id", type="string"),), file_rows=(1,))
    problems = [str(problem) for problem in contract(deployment, STRUCT, schema)]
    assert (problems == []) if said is None else (said in problems[0])


def test_a_runtime_that_passes_no_params_is_refused() -> None:
    model = replace(MODEL, params={"level": 0.5})
    schema = InputSchema(columns=(Column(name="id", type="string"),), file_rows=(1,))
    assert contract(DEPLOYMENT, model, schema) == ()
    compiled = replace(DEPLOYMENT, model=ModelRef(name="m", runtime="compiled"))
    (problem,) = contract(compiled, model, schema)
    assert "the model's params; use native, got level" in str(problem)


WRONG: dict[str, tuple[ModelRef, str]] = {
    "a secret by its name": (
        ModelRef(name="m", params={"api_token": "abc"}),
        "model.params.api_token: looks like a secret, and params are recorded in every plan",
    ),
    "a secret by its form": (
        ModelRef(name="m", params={"u": "https://a:b@c"}),
        "model.params.u: looks like a secret",
    ),
    "neither": (
        ModelRef(name="m", input=InputSpec()),
        "give columns (for one tensor) or tensors (for several)",
    ),
    "both": (ModelRef(name="m", input=InputSpec(columns=("a",), tensors={"x": ("a",)})), "and not both"),
    "no column": (ModelRef(name="m", input=InputSpec(columns=())), "model.input.columns: names no column"),
    "one twice": (
        ModelRef(name="m", input=InputSpec(tensors={"x": ("a", "a")})),
        "model.input.tensors.x: names a column twice, got a",
    ),
}


@pytest.mark.parametrize(("model", "said"), WRONG.values(), ids=WRONG.keys())
def test_finds_what_is_wrong_with_params_and_inputs(model: ModelRef, said: str) -> None:
    (problem,) = deployment_problems(replace(DEPLOYMENT, model=model))
    assert said in str(problem)


def test_a_number_is_no_secret_whatever_its_name() -> None:
    assert deployment_problems(replace(DEPLOYMENT, model=ModelRef(name="m", params={"max_tokens": 10}))) == ()
