"""Checks the model's signature against the data's schema and the deployment, before a worker starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from batchdeploy.core.deployment import Deployment, OutputColumn
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
}

# The targets of data.casts; strings are never parsed as numbers.
CASTS = ("integer", "long", "float", "double")
KEY_TYPES = {*STRINGS, *INTEGERS, "bool", "date32", "date64", "timestamp", "decimal128", "decimal256"}


def contract(deployment: Deployment, model: ModelPin, schema: InputSchema) -> tuple[Problem, ...]:
    """All mismatches between deployment, model and data; empty if they match."""
    columns = {column.name: column for column in schema.columns}
    return (
        *_key_problems(deployment, columns, {column.name for column in model.inputs}),
        *_input_problems(deployment, model, columns),
        *_output_problems(deployment, model),
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
        and _castable(columns[name], kind)
        and arrow_family(columns[name]) not in FITS[kind]
    }
    if not wanted:
        return None
    line = ", ".join(f"{name}: {kind}" for name, kind in (casts | wanted).items())
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
        elif inputs[name] != kind:
            yield Problem(path, f"the model wants {inputs[name]}", kind)
        elif name in columns and not _castable(columns[name].type, kind):
            yield Problem(path, f"the data holds {columns[name].type}, which is not cast to numbers")
    for wanted in model.inputs:
        found = columns.get(wanted.name)
        if found is None:
            if wanted.required:
                yield Problem(
                    wanted.name, f"the model needs it as {wanted.type}, the data has no such column"
                )
        elif wanted.type not in FITS:
            yield Problem(wanted.name, f"the model wants the type {wanted.type}, which is not supported")
        elif wanted.name not in casts and arrow_family(found.type) not in FITS[wanted.type]:
            text = f"the model wants {wanted.type}, the data holds {found.type}"
            if _castable(found.type, wanted.type):
                text += f"; data: {{casts: {{{wanted.name}: {wanted.type}}}}} casts it"
            yield Problem(wanted.name, text)


def _output_problems(deployment: Deployment, model: ModelPin) -> Iterator[Problem]:
    """Mismatches of the outputs, each with the line of YAML that fixes it."""
    declared, names = deployment.outputs, [column.name for column in model.outputs]
    if model.returns == "unknown":
        return
    selected = any(column.select is not None for _, column in declared)
    if not selected and len(declared) != len(names):
        text = f"{len(declared)} declared, the model returns {len(names)}"
        if (spare := len(names) - len(declared)) > 0:
            # The last columns, because the second of two probabilities is that of the event.
            lines = [
                output_line(n, c, _choice(model, place + spare)) for place, (n, c) in enumerate(declared)
            ]
            text += f"; pick with 'select', such as {', '.join(lines)}"
        yield Problem("output.columns", text)
    elif not selected and model.returns == "frame":
        yield from _misnamed(declared, names)
    for place, (name, column) in enumerate(declared):
        if column.select is not None and not _offered(column.select, model):
            line = output_line(name, column, _choice(model, place))
            text = f"the model's answer {_described(model)}; write {line}"
            yield Problem(f"output.columns.{name}.select", text, repr(column.select))


def _misnamed(declared: Sequence[tuple[str, OutputColumn]], names: Sequence[str]) -> Iterator[Problem]:
    if sorted(names) == sorted(name for name, _ in declared):
        if [name for name, _ in declared] != list(names):
            lines = ", ".join(output_line(name, column, name) for name, column in declared)
            text = f"the model's order is {', '.join(names)}; write {lines}"
            yield Problem("output.columns", text, ", ".join(name for name, _ in declared))
        return
    for place, (name, column) in enumerate(declared):
        if names[place] != name:
            line = output_line(name, column, names[place])
            text = f"the model's output {place} is {names[place]!r}; write {line}"
            yield Problem(f"output.columns.{name}", text)


def _choice(model: ModelPin, place: int) -> int | str:
    """A suggestion for ``select``: the column at the same place, or the last one."""
    place = min(place, len(model.outputs) - 1)
    return model.outputs[place].name if model.returns == "frame" else place


def _described(model: ModelPin) -> str:
    names = [column.name for column in model.outputs]
    if model.returns == "frame":
        return f"has {', '.join(names)}"
    return f"has {len(names)} column{'' if len(names) == 1 else 's'} without names, counted from 0"


def _offered(select: int | str, model: ModelPin) -> bool:
    if isinstance(select, int):
        return 0 <= select < len(model.outputs)
    return model.returns == "frame" and select in [column.name for column in model.outputs]


def output_line(name: str, column: OutputColumn, select: int | str) -> str:
    """The line of ``output.columns`` that selects a column of the model's output."""
    return f"{name}: {{type: {column.type}, select: {select}}}"
