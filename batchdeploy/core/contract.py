"""Checks the model's signature against the data's schema and the deployment, before a worker starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from batchdeploy.core.column_types import array_type, list_type
from batchdeploy.core.deployment import Deployment
from batchdeploy.core.output_checks import output_problems
from batchdeploy.core.predicates import column_problems
from batchdeploy.core.profiles import ColumnProfile, Reference
from batchdeploy.core.records import Column, InputSchema, ModelPin
from batchdeploy.core.reference_checks import is_consistent
from batchdeploy.errors import Problem

INTEGERS = {f"{sign}int{bits}": bits for sign in ("", "u") for bits in (8, 16, 32, 64)}
FLOATS = {"halffloat": 16, "float": 32, "double": 64}
DECIMALS = {f"decimal{bits}" for bits in (32, 64, 128, 256)}
STRINGS = {"string", "large_string", "string_view"}

# MLflow types to the Arrow types that fit them without changing a value. int64 fits double, because that cast
# is checked value by value (2**53).
FITS = {
    "boolean": {"bool"},
    "integer": {"int8", "int16", "int32", "uint8", "uint16"},
    "long": {"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"},
    "float": {"halffloat", "float", "int8", "int16", "uint8", "uint16"},
    "double": {*FLOATS, *INTEGERS},
    "string": STRINGS,
    "binary": {"binary", "large_binary", "binary_view", "fixed_size_binary"},
    "datetime": {"date32", "date64", "timestamp"},
    # Types of tensors that MLflow has no column type for.
    "int8": {"int8"},
    "int16": {"int8", "int16", "uint8"},
    "uint8": {"uint8"},
    "uint16": {"uint8", "uint16"},
    "uint32": {"uint8", "uint16", "uint32"},
    "uint64": {"uint8", "uint16", "uint32", "uint64"},
}

# The targets of data.casts; strings are never parsed as numbers.
CASTS = ("integer", "long", "float", "double")
# By MLflow's class of a type; what can be done about it.
UNSUPPORTED = {
    "Object": "log the model with a column for each property of the struct",
    "Map": "log the model with a column for each key of the map",
    "Array": "lists of boolean, integer, long, float, double and string are",
    "SparkMLVector": "log the model with a column for each value, or an Array(double)",
}
KEY_TYPES = {*STRINGS, *INTEGERS, "bool", "date32", "date64", "timestamp", "decimal128", "decimal256"}


def contract(deployment: Deployment, model: ModelPin, schema: InputSchema) -> tuple[Problem, ...]:
    """All mismatches between deployment, model and data; empty if they match."""
    columns = {column.name: column for column in schema.columns}
    return (
        *_key_problems(deployment, columns, {column.name for column in model.inputs}),
        *_input_problems(deployment, model, columns),
        *output_problems(deployment, model),
        *_runtime_problems(deployment, model),
        *_policy_problems(deployment, columns),
        *column_problems(deployment.data.where, {n: arrow_family(c.type) for n, c in columns.items()}),
    )


def arrow_family(type_name: str) -> str:
    """An Arrow type's name without its parameters: ``timestamp`` for ``timestamp[us, tz=UTC]``.

    For a dictionary-encoded column it is the type of its values, because readers see those.
    """
    if type_name.startswith("dictionary<values="):
        type_name = type_name.removeprefix("dictionary<values=").split(",", 1)[0]
    return type_name.split("[", 1)[0].split("(", 1)[0]


def reference_problems(reference: Reference, model: ModelPin, deployment: Deployment) -> tuple[Problem, ...]:
    """The mismatches between a reference profile and the columns of this model and deployment."""
    found: dict[tuple[str, str], ColumnProfile] = {(p.role, p.name): p for p in reference.profiles}
    expected = {("feature", c.name): _kind(c.type) for c in model.inputs} | {
        ("output", name): _kind(column.type) for name, column in deployment.outputs
    }
    problems = []
    for (role, name), kind in expected.items():
        profile = found.pop((role, name), None)
        if kind is not None and profile is None:
            problems.append(Problem(name, f"this {role} is not in the reference"))
        elif kind is not None and profile is not None and profile.kind != kind:
            problems.append(Problem(name, f"is {kind} here, but {profile.kind} in the reference"))
    problems += [
        Problem(name, f"the reference's {role} is not one of this deployment") for role, name in found
    ]
    return (*problems, *_malformed(reference))


def _malformed(reference: Reference) -> Iterator[Problem]:
    for column in reference.columns:
        if not is_consistent(column):
            yield Problem(column.profile.name, "the reference's bins, counts or calibration do not agree")


def _kind(type_name: str) -> str | None:
    if type_name in ("boolean", "string"):
        return "categorical"
    return "numeric" if type_name in ("integer", "long", "float", "double") else None


def _key_problems(deployment: Deployment, columns: dict[str, Column], inputs: set[str]) -> Iterator[Problem]:
    if deployment.data.partition.column in columns:
        yield Problem(deployment.data.partition.column, "is the partition column, and in the files as well")
    for name in deployment.data.keys:
        if name in columns and arrow_family(columns[name].type) not in KEY_TYPES:
            yield Problem(name, "cannot be a key", columns[name].type)
        if name in inputs:
            yield Problem(name, "named in data.keys, but the model wants it; keys are never given to it")
    for path, names in (("data.keys", deployment.data.keys), ("output.keep", deployment.output.keep)):
        for name in names:
            if name not in columns:
                yield Problem(name, f"named in {path}, but not in the data")


def _policy_problems(deployment: Deployment, columns: dict[str, Column]) -> Iterator[Problem]:
    policy = deployment.policy
    wanted: dict[str, tuple[Iterable[str], set[str]]] = {
        "ranges": (policy.ranges or {}, {*INTEGERS, *FLOATS}),
        "categories": (policy.categories or {}, {*STRINGS, *INTEGERS, "bool"}),
    }
    for kind, (named, families) in wanted.items():
        for name in named:
            if name not in columns:
                yield Problem(f"policy.{kind}.{name}", "no such column in the data")
            elif arrow_family(columns[name].type) not in families:
                yield Problem(f"policy.{kind}.{name}", "does not fit the column", columns[name].type)


def casts_hint(deployment: Deployment, model: ModelPin, schema: InputSchema) -> str | None:
    """The line of YAML that casts every number to the model's type; None if no cast is needed."""
    columns, casts = {column.name: column.type for column in schema.columns}, deployment.data.casts or {}
    wanted = {
        name: kind
        for name, kind in ((column.name, column.type) for column in model.inputs)
        if name in columns
        and name not in casts
        and (types := value_types(columns[name], kind)) is not None
        and _castable(*types)
        and arrow_family(types[0]) not in FITS[types[1]]
    }
    if not wanted:
        return None
    named = {name: cast_name(kind) for name, kind in wanted.items()}
    line = ", ".join(f"{name}: {kind}" for name, kind in (casts | named).items())
    return f"data: {{casts: {{{line}}}}} gives the model these types; what is lost in it is quarantined"


def _castable(found: str, wanted: str) -> bool:
    return wanted in CASTS and arrow_family(found) in {*INTEGERS, *FLOATS, *DECIMALS}


def _input_problems(deployment: Deployment, model: ModelPin, columns: dict[str, Column]) -> Iterator[Problem]:
    casts = deployment.data.casts or {}
    inputs = {column.name: column.type for column in model.inputs}
    for name, kind in casts.items():
        path = f"data.casts.{name}"
        if name not in inputs:
            yield Problem(path, "the model has no such input")
        elif cast_name(inputs[name]) != kind:
            yield Problem(path, f"the model wants {inputs[name]}", kind)
        elif name in columns:
            types = value_types(columns[name].type, inputs[name])
            if types is not None and not _castable(*types):
                yield Problem(path, f"the data holds {columns[name].type}, which is not cast to numbers")
    for wanted in model.inputs:
        found = columns.get(wanted.name)
        if found is not None:
            yield from _type_problems(wanted, found.type, cast=wanted.name in casts)
        elif wanted.required:
            yield Problem(wanted.name, f"the model needs it as {wanted.type}, the data has no such column")


def _type_problems(wanted: Column, found: str, *, cast: bool) -> Iterator[Problem]:
    array = array_type(wanted.type)
    if (array.element if array else wanted.type) not in FITS:
        remedy = UNSUPPORTED.get(wanted.type.partition(" ")[0], "log the model with columns of plain types")
        text = f"the model wants the type {wanted.type}, which is not supported; {remedy}"
        yield Problem(wanted.name, text)
        return
    types = value_types(found, wanted.type)
    if types is None:
        yield Problem(wanted.name, f"the model wants {wanted.type}, the data holds {found}")
    elif not cast and arrow_family(types[0]) not in FITS[types[1]]:
        text = f"the model wants {wanted.type}, the data holds {found}"
        if _castable(*types):
            text += f"; data: {{casts: {{{wanted.name}: {types[1]}}}}} casts it"
        yield Problem(wanted.name, text)


def value_types(found: str, wanted: str) -> tuple[str, str] | None:
    """The types of single values: of the data and of the model; None if lists cannot be what is wanted."""
    array, listed = array_type(wanted), list_type(found)
    if array is None:
        return None if listed else (found, wanted)
    if listed is None or (array.size and listed.size and array.size != listed.size):
        return None
    return listed.element, array.element


def cast_name(wanted: str) -> str:
    """The type that ``data.casts`` names for an input: that of its values, or of its elements."""
    array = array_type(wanted)
    return array.element if array else wanted


def _runtime_problems(deployment: Deployment, model: ModelPin) -> Iterator[Problem]:
    runtime = deployment.model.runtime
    if model.params and runtime != "native":
        got = ", ".join(model.params)
        yield Problem("model.runtime", f"{runtime} answers without the model's params; use native", got)
