"""Checks the model's signature against the data's schema and the deployment, before a worker starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from batchdeploy.core.arrow_types import DATES, FLOATS, INTEGERS, STRINGS, arrow_family
from batchdeploy.core.casts import ARROW_NAMES, MODEL_CASTS, CastType, can_cast, cast_columns, cast_problems
from batchdeploy.core.column_types import array_type, list_type
from batchdeploy.core.deployment import Deployment
from batchdeploy.core.output_checks import output_problems
from batchdeploy.core.predicates import column_problems
from batchdeploy.core.profiles import ColumnProfile, Reference
from batchdeploy.core.records import Column, InputSchema, ModelPin
from batchdeploy.core.reference_checks import is_consistent
from batchdeploy.errors import Problem

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
    "datetime": {*DATES, "timestamp"},
    # Types of tensors that MLflow has no column type for.
    "int8": {"int8"},
    "int16": {"int8", "int16", "uint8"},
    "uint8": {"uint8"},
    "uint16": {"uint8", "uint16"},
    "uint32": {"uint8", "uint16", "uint32"},
    "uint64": {"uint8", "uint16", "uint32", "uint64"},
}

# By MLflow's class of a type; what can be done about it.
UNSUPPORTED = {
    "Object": "log the model with a column for each property of the struct",
    "Map": "log the model with a column for each key of the map",
    "Array": "lists of boolean, integer, long, float, double and string are",
    "SparkMLVector": "log the model with a column for each value, or an Array(double)",
}
KEY_TYPES = {*STRINGS, *INTEGERS, *DATES, "bool", "timestamp", "decimal128", "decimal256"}


def contract(deployment: Deployment, model: ModelPin, schema: InputSchema) -> tuple[Problem, ...]:
    """All mismatches between deployment, model and data; empty if they match."""
    casts = deployment.data.casts
    columns = {column.name: column for column in cast_columns(schema.columns, casts)}
    return (
        *cast_problems(casts, schema.columns, deployment.data.partition.column),
        *_key_problems(deployment, columns, {column.name for column in model.inputs}),
        *_input_problems(deployment, model, schema),
        *output_problems(deployment, model),
        *_runtime_problems(deployment, model),
        *_policy_problems(deployment, columns),
        *column_problems(deployment.data.where, {n: arrow_family(c.type) for n, c in columns.items()}),
    )


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
            yield Problem(column.profile.name, "the reference's bins, counts or partitions do not agree")


def _kind(type_name: str) -> str | None:
    if type_name in ("boolean", "string"):
        return "categorical"
    return "numeric" if type_name in ("integer", "long", "float", "double") else None


def _key_problems(deployment: Deployment, columns: dict[str, Column], inputs: set[str]) -> Iterator[Problem]:
    for name in deployment.data.keys:
        if name in columns and arrow_family(columns[name].type) not in KEY_TYPES:
            mend = _cast_line(name, "long") if can_cast(columns[name].type, "long") else ""
            yield Problem(name, f"cannot be a key{mend}", columns[name].type)
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
                target: CastType = "double" if kind == "ranges" else "string"
                mend = _cast_line(name, target) if can_cast(columns[name].type, target) else ""
                yield Problem(f"policy.{kind}.{name}", f"does not fit the column{mend}", columns[name].type)


def casts_hint(deployment: Deployment, model: ModelPin, schema: InputSchema) -> str | None:
    """The line of YAML that casts every column to the model's type; None if no cast is needed."""
    casts: dict[str, CastType] = dict(deployment.data.casts or {})
    found = {column.name: column.type for column in schema.columns}
    wanted = {
        column.name: target
        for column in model.inputs
        if column.name in found
        and not _fits(found[column.name], column.type, casts.get(column.name))
        and (target := _cast_for(found[column.name], column.type)) is not None
    }
    if not wanted:
        return None
    line = ", ".join(f"{name}: {kind}" for name, kind in (casts | wanted).items())
    return f"data: {{casts: {{{line}}}}} gives the model these types; what is lost in it is quarantined"


def _cast_line(name: str, target: CastType) -> str:
    return f"; data: {{casts: {{{name}: {target}}}}} casts it"


def _fits(found: str, wanted: str, cast: CastType | None) -> bool:
    """Whether a column that is cast so, if at all, has what the model wants."""
    types = value_types(found, wanted)
    if types is None:
        return False
    element = types[0] if cast is None or not can_cast(found, cast) else ARROW_NAMES[cast]
    return arrow_family(element) in FITS.get(types[1], set())


def _cast_for(found: str, wanted: str) -> CastType | None:
    """The cast that gives a column, or the elements of its lists, the type that the model wants."""
    types = value_types(found, wanted)
    target = None if types is None else MODEL_CASTS.get(types[1])
    return target if can_cast(found, target) else None


def _input_problems(deployment: Deployment, model: ModelPin, schema: InputSchema) -> Iterator[Problem]:
    casts = deployment.data.casts or {}
    found = {column.name: column.type for column in schema.columns}
    for wanted in model.inputs:
        if wanted.name in found:
            yield from _type_problems(wanted, found[wanted.name], casts.get(wanted.name))
        elif wanted.required:
            yield Problem(wanted.name, f"the model needs it as {wanted.type}, the data has no such column")


def _type_problems(wanted: Column, found: str, cast: CastType | None) -> Iterator[Problem]:
    array = array_type(wanted.type)
    if (array.element if array else wanted.type) not in FITS:
        remedy = UNSUPPORTED.get(wanted.type.partition(" ")[0], "log the model with columns of plain types")
        text = f"the model wants the type {wanted.type}, which is not supported; {remedy}"
        yield Problem(wanted.name, text)
    elif not _fits(found, wanted.type, cast):
        holder = "the data holds" if cast is None else "data.casts makes it"
        text = f"the model wants {wanted.type}, {holder} {cast or found}"
        if (target := _cast_for(found, wanted.type)) is not None:
            text += _cast_line(wanted.name, target)
        yield Problem(wanted.name, text)


def value_types(found: str, wanted: str) -> tuple[str, str] | None:
    """The types of single values: of the data and of the model; None if lists cannot be what is wanted."""
    array, listed = array_type(wanted), list_type(found)
    if array is None:
        return None if listed else (found, wanted)
    if listed is None or (array.size and listed.size and array.size != listed.size):
        return None
    return listed.element, array.element


def _runtime_problems(deployment: Deployment, model: ModelPin) -> Iterator[Problem]:
    runtime = deployment.model.runtime
    if model.params and runtime != "native":
        got = ", ".join(model.params)
        yield Problem("model.runtime", f"{runtime} predicts without the model's params; use native", got)
