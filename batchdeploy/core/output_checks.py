"""Checks the declared outputs against the answer that the model's signature describes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher

from batchdeploy.core.deployment import Deployment, OutputColumn
from batchdeploy.core.records import ModelPin
from batchdeploy.errors import Problem


def output_problems(deployment: Deployment, model: ModelPin) -> Iterator[Problem]:
    """Mismatches of the outputs and the model's answer, each with the line of YAML that fixes it."""
    declared, names = deployment.outputs, [column.name for column in model.outputs]
    if model.returns == "unknown":
        return
    if model.returns == "struct":
        yield from _struct_problems(declared, model)
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


def _struct_problems(declared: Sequence[tuple[str, OutputColumn]], model: ModelPin) -> Iterator[Problem]:
    """Outputs that are no field of the model's structs; each is taken by its dotted name."""
    fields = {column.name: column.type for column in model.outputs}
    offered = ", ".join(fields)
    for name, column in declared:
        source = name if column.select is None else str(column.select)
        if source in fields:
            if (kind := fields[source].partition("(")[0].partition(" ")[0]) in ("Array", "Map", "Object"):
                ending = "0" if kind == "Array" else "KEY"
                text = f"is {fields[source]}; take one value of it by {source}.{ending}"
                yield Problem(f"output.columns.{name}", text)
        elif not any(source.startswith(f"{field}.") and _is_open(kind) for field, kind in fields.items()):
            line = output_line(name, column, _closest(source, fields))
            text = f"the model's answer has the fields {offered}; write {line}"
            yield Problem(f"output.columns.{name}", text, source)


def _closest(source: str, fields: Mapping[str, str]) -> str:
    """The field whose name, or its last part, is most like the one that was asked for."""

    def likeness(field: str) -> float:
        pairs = ((source, field), (source.rpartition(".")[2], field.rpartition(".")[2]))
        return max(SequenceMatcher(None, *pair).ratio() for pair in pairs)

    return max((field for field, kind in fields.items() if not _is_open(kind)), key=likeness, default="FIELD")


def _is_open(type_name: str) -> bool:
    """Whether a field has parts that the signature does not name."""
    return type_name.startswith(("Array", "Map", "AnyType"))


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
