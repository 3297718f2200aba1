from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from ruamel.yaml import YAML

from batchdeploy.core.contract import arrow_family, casts_hint, contract, reference_problems
from batchdeploy.core.deployment import DataRef, Deployment, ModelRef, OutputColumn, OutputRef, PartitionSpec
from batchdeploy.core.policy import PolicySpec
from batchdeploy.core.predicates import Predicate
from batchdeploy.core.profiles import ColumnProfile, Reference, ReferenceColumn
from batchdeploy.core.records import Column, InputSchema, ModelPin

DEPLOYMENT = Deployment(
    name="d",
    model=ModelRef(name="m"),
    data=DataRef(path="data", partition=PartitionSpec(column="date"), keys=("id",)),
    output=OutputRef(path="scores", columns={"y": "double"}, keep=("city",)),
)
MODEL = ModelPin(
    name="m",
    version=1,
    model_id="x",
    digest="d",
    alias="champion",
    inputs=(Column(name="x", type="double"), Column(name="city", type="string")),
    outputs=(Column(name="y", type="double"),),
    returns="frame",
)


TYPES = {"id": "string", "x": "double", "city": "string"}


def schema(**types: str) -> InputSchema:
    columns = TYPES | types
    return InputSchema(columns=tuple(Column(name=n, type=t) for n, t in columns.items() if t), file_rows=(1,))


def test_what_fits_has_no_problems() -> None:
    assert contract(DEPLOYMENT, MODEL, schema()) == ()
    assert (
        contract(DEPLOYMENT, MODEL, schema(x="int64", city="dictionary<values=string, indices=int32>")) == ()
    )


MISFITS = {
    "a missing feature": ({"x": ""}, "x: the model needs it as double"),
    "a retyped feature": ({"x": "string"}, "x: the model wants double, the data holds string"),
    "numbers for text": ({"city": "int64"}, "city: the model wants string"),
    "a decimal": ({"x": "decimal128(10, 2)"}, "the data holds decimal128(10, 2)"),
    "a missing key": ({"id": ""}, "id: named in data.keys"),
}


@pytest.mark.parametrize(("types", "expected"), MISFITS.values(), ids=MISFITS.keys())
def test_finds_the_mismatch(types: dict[str, str], expected: str) -> None:
    problems = contract(DEPLOYMENT, MODEL, schema(**types))
    assert any(expected in str(problem) for problem in problems), problems


def test_finds_all_of_them_at_once() -> None:
    assert len(contract(DEPLOYMENT, MODEL, schema(id="", x="string", city=""))) == 4


def test_a_key_is_never_given_to_the_model() -> None:
    model = replace(MODEL, inputs=(*MODEL.inputs, Column(name="id", type="string")))
    assert "keys are never given to it" in str(contract(DEPLOYMENT, model, schema())[0])


def test_an_optional_input_may_be_missing() -> None:
    model = replace(MODEL, inputs=(Column(name="z", type="long", required=False),))
    assert contract(DEPLOYMENT, model, schema()) == ()


@pytest.mark.parametrize(
    ("wanted", "found", "fits"),
    [
        ("long", "int32", True),
        ("long", "uint64", False),
        ("integer", "int64", False),
        ("long", "double", False),
        ("double", "float", True),
        ("float", "double", False),
        ("boolean", "bool", True),
        ("boolean", "int8", False),
        ("datetime", "timestamp[us, tz=UTC]", True),
        ("string", "large_string", True),
    ],
)
def test_only_casts_that_keep_the_value_are_taken(wanted: str, found: str, fits: bool) -> None:
    model = replace(MODEL, inputs=(Column(name="x", type=wanted),))
    assert (contract(DEPLOYMENT, model, schema(x=found)) == ()) is fits


def outputs(**columns: OutputColumn) -> Deployment:
    return replace(DEPLOYMENT, output=replace(DEPLOYMENT.output, columns=dict(columns)))


ARRAY = replace(
    MODEL, returns="array", outputs=(Column(name="0", type="float64"), Column(name="1", type="float64"))
)
WRONG_OUTPUTS = {
    "another name": (outputs(z=OutputColumn(type="double")), MODEL, "the model's output 0 is 'y'"),
    "one too many": (
        outputs(y=OutputColumn(type="double"), z=OutputColumn(type="double")),
        MODEL,
        "2 declared, the model returns 1",
    ),
    "a column of two": (outputs(y=OutputColumn(type="double")), ARRAY, "1 declared, the model returns 2"),
    "no such position": (outputs(y=OutputColumn(type="double", select=2)), ARRAY, "has 2 columns"),
    "a name in an array": (outputs(y=OutputColumn(type="double", select="p")), ARRAY, "has 2 columns"),
    "no such name": (outputs(y=OutputColumn(type="double", select="p")), MODEL, "the model's answer has y"),
}


@pytest.mark.parametrize(
    ("deployment", "model", "expected"), WRONG_OUTPUTS.values(), ids=WRONG_OUTPUTS.keys()
)
def test_outputs_must_be_those_the_signature_offers(
    deployment: Deployment, model: ModelPin, expected: str
) -> None:
    problems = contract(deployment, model, schema())
    assert any(expected in str(problem) for problem in problems), problems


A, B = OutputColumn(type="double"), OutputColumn(type="long")
SINGLE = replace(MODEL, returns="array", outputs=(Column(name="0", type="float32"),))
TWO = replace(MODEL, outputs=(Column(name="b", type="long"), Column(name="a", type="double")))
LINES = {
    "a name where there are none": (
        outputs(y=OutputColumn(type="double", select="variable")), SINGLE,
        "has 1 column without names, counted from 0; write y: {type: double, select: 0}, got 'variable'",
    ),
    "one of two probabilities": (outputs(y=A), ARRAY, "such as y: {type: double, select: 1}"),
    "the model's names in another order": (
        outputs(a=A, b=B), TWO,
        "output.columns: the model's order is b, a; write a: {type: double, select: a}, "
        "b: {type: long, select: b}, got a, b",
    ),
    "a name of one's own": (outputs(z=A), MODEL, "is 'y'; write z: {type: double, select: y}"),
    "a name that the model lacks": (
        outputs(z=OutputColumn(type="long", select="w")), MODEL, "has y; write z: {type: long, select: y}",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("deployment", "model", "expected"), LINES.values(), ids=LINES.keys())
def test_what_is_wrong_with_outputs_comes_with_the_line_that_mends_it(
    deployment: Deployment, model: ModelPin, expected: str
) -> None:
    (problem,) = contract(deployment, model, schema())
    assert expected in str(problem)
    lines = re.findall(r"(\w+): (\{.*?\})", expected)
    columns = {name: OutputColumn(**YAML(typ="safe").load(line)) for name, line in lines}
    assert columns
    assert contract(outputs(**columns), model, schema()) == ()


def cast(**casts: Any) -> Deployment:
    return replace(DEPLOYMENT, data=replace(DEPLOYMENT.data, casts=casts))


@pytest.mark.parametrize(
    ("wanted", "found", "target"),
    [
        ("double", "decimal128(10, 2)", "double"),
        ("double", "decimal256(50, 2)", "double"),
        ("double", "string", "double"),
        ("float", "double", "float"),
        ("float", "int64", "float"),
        ("integer", "int64", "integer"),
        ("long", "decimal128(20, 0)", "long"),
        ("long", "double", "long"),
        ("long", "dictionary<values=string, indices=int32>", "long"),
        ("boolean", "int8", "boolean"),
        ("string", "int64", "string"),
        ("datetime", "string", "timestamp"),
    ],
)
def test_columns_of_another_type_are_cast_where_the_deployment_says_so(
    wanted: str, found: str, target: Any
) -> None:
    model = replace(MODEL, inputs=(Column(name="x", type=wanted), Column(name="city", type="string")))
    (problem,) = contract(DEPLOYMENT, model, schema(x=found))
    assert f"the model wants {wanted}, the data holds {found}; data: {{casts: {{x: {target}}}}}" in str(
        problem
    )
    assert str(casts_hint(DEPLOYMENT, model, schema(x=found))).startswith(
        f"data: {{casts: {{x: {target}}}}} "
    )
    assert contract(cast(x=target), model, schema(x=found)) == ()
    assert casts_hint(cast(x=target), model, schema(x=found)) is None


@pytest.mark.parametrize(
    ("wanted", "found"), [("string", "double"), ("double", "binary"), ("datetime", "int64")]
)
def test_what_no_cast_helps_has_no_line_to_write(wanted: str, found: str) -> None:
    model = replace(MODEL, inputs=(Column(name="x", type=wanted), Column(name="city", type="string")))
    (problem,) = contract(DEPLOYMENT, model, schema(x=found))
    assert "casts" not in str(problem)
    assert casts_hint(DEPLOYMENT, model, schema(x=found)) is None


def test_casts_that_cannot_be_are_problems() -> None:
    wrong = contract(cast(x="date", y="long", date="date"), MODEL, schema())
    assert [str(problem) for problem in wrong] == [
        "data.casts.x: the data holds double, which is cast to boolean, integer, long, float, double, "
        "got date",
        "data.casts.y: no such column in the data",
        "data.casts.date: is the partition column; its values stay as the folders are named",
    ]


def test_a_cast_to_another_type_than_the_model_takes_is_named_with_the_right_one() -> None:
    model = replace(MODEL, inputs=(Column(name="x", type="long"), Column(name="city", type="string")))
    (problem,) = contract(cast(x="double"), model, schema(x="string"))
    assert str(problem) == (
        "x: the model wants long, data.casts makes it double; data: {casts: {x: long}} casts it"
    )
    assert str(casts_hint(cast(x="double"), model, schema(x="string"))).startswith(
        "data: {casts: {x: long}} "
    )


def test_every_other_check_sees_the_types_after_the_casts() -> None:
    """Keys, kept columns, ``where`` and the policy."""
    spec = DEPLOYMENT.data
    where = (Predicate(column="born", op="ge", value="2000-01-01"),)
    policy = PolicySpec(ranges={"price": (0, None)})
    typed = {"id": "double", "born": "string", "price": "decimal128(10, 2)"}
    plain = replace(DEPLOYMENT, data=replace(spec, where=where), policy=policy)
    wrong = [str(problem) for problem in contract(plain, MODEL, schema(**typed))]
    assert wrong[0] == "id: cannot be a key; data: {casts: {id: long}} casts it, got double"
    assert "policy.ranges.price: does not fit the column; data: {casts: {price: double}}" in wrong[1]
    casts = replace(plain.data, casts={"id": "long", "born": "date", "price": "double"})
    assert contract(replace(plain, data=casts), MODEL, schema(**typed)) == ()


FOUND = tuple(Column(name=name, type=kind) for name, kind in TYPES.items())
HARMLESS = {
    "another order": FOUND[::-1],
    "nullable": tuple(replace(column, required=False) for column in FOUND),
    "an extra column": (*FOUND, Column(name="more", type="binary")),
}


@pytest.mark.parametrize("columns", HARMLESS.values(), ids=HARMLESS.keys())
def test_order_nullability_and_extra_columns_are_no_mismatch(columns: tuple[Column, ...]) -> None:
    assert contract(DEPLOYMENT, MODEL, InputSchema(columns=columns, file_rows=(1,))) == ()


def reference(*profiles: ColumnProfile) -> Reference:
    return Reference(
        description="",
        columns=tuple(ReferenceColumn(profile=p, partitions=()) for p in profiles),
    )


X = ColumnProfile(name="x", role="feature", kind="numeric", edges=(0.0,), counts=(1, 1))
CITY = ColumnProfile(name="city", role="feature", kind="categorical", categories=("a",), counts=(1, 0))
Y = replace(X, name="y", role="output")


def test_a_reference_must_be_made_for_these_columns() -> None:
    assert reference_problems(reference(X, CITY, Y), MODEL, DEPLOYMENT) == ()
    assert "not in the reference" in str(reference_problems(reference(X, CITY), MODEL, DEPLOYMENT))
    extra = reference(X, CITY, Y, replace(X, name="gone"))
    assert "gone: the reference's feature is not" in str(reference_problems(extra, MODEL, DEPLOYMENT)[0])
    other = reference(replace(CITY, name="x"), CITY, Y)
    assert "is numeric here, but categorical" in str(reference_problems(other, MODEL, DEPLOYMENT)[0])
    broken = reference(replace(X, counts=(1, 1, 1)), CITY, Y)
    assert "do not agree" in str(reference_problems(broken, MODEL, DEPLOYMENT)[0])


def test_names_an_arrow_type_without_its_parameters() -> None:
    assert arrow_family("timestamp[us, tz=UTC]") == "timestamp"
    assert arrow_family("dictionary<values=string, indices=int32, ordered=0>") == "string"
