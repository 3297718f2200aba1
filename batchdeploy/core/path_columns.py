"""Types of path columns: the type in the model's signature, else text."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from batchdeploy.core.pins import Column, DataPin, PathColumn
from batchdeploy.core.records import InputSchema
from batchdeploy.errors import DataError, Problem

# MLflow's types to Arrow's, by the aliases that pyarrow knows.
ARROW_TYPES = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "string",
    "datetime": "timestamp[us]",
}
# Arrow's own names, where they differ from the aliases.
NAMES = {"float32": "float", "float64": "double"}


def type_path_columns(
    pin: DataPin, schema: InputSchema, inputs: Sequence[Column], *, casts: Collection[str] = ()
) -> tuple[DataPin, InputSchema]:
    """The pin and its schema with path columns in the types of the model's inputs.

    Args:
        pin: files with path columns as text.
        schema: the schema of these files.
        inputs: the model's inputs, with the types of its signature.
        casts: columns that the deployment casts from text.

    Raises:
        DataError: a folder's value does not fit the type; lists all of them.
    """
    inside = {column.name for file in pin.files for column in file.path_columns}
    kinds = {
        column.name: ARROW_TYPES[column.type]
        for column in inputs
        if column.name in inside and column.name not in casts and column.type in ARROW_TYPES
    }
    if not kinds:
        return pin, schema
    if problems := tuple(_value_problems(pin, kinds)):
        raise DataError(pin.path, problems)
    files = tuple(
        replace(file, path_columns=tuple(_typed(column, kinds) for column in file.path_columns))
        for file in pin.files
    )
    columns = tuple(
        replace(column, type=NAMES.get(kind, kind)) if (kind := kinds.get(column.name)) else column
        for column in schema.columns
    )
    return replace(pin, files=files), replace(schema, columns=columns)


def _typed(column: PathColumn, kinds: dict[str, str]) -> PathColumn:
    return replace(column, type=kinds.get(column.name, column.type))


def _value_problems(pin: DataPin, kinds: dict[str, str]) -> Iterator[Problem]:
    seen = set()
    for file in pin.files:
        for column in file.path_columns:
            kind = kinds.get(column.name)
            if kind is None or column.value is None or column in seen:
                continue
            seen.add(column)
            if not _fits(column.value, kind):
                text = f"the folder's {column.name} is no {NAMES.get(kind, kind)}, which the model takes"
                yield Problem(file.path, text, column.value)


def _fits(text: str, kind: str) -> bool:
    if kind == "string":
        return True
    if kind == "bool":
        return text.lower() in ("true", "false")
    try:
        if kind.startswith("int"):
            most = 1 << (int(kind.removeprefix("int")) - 1)
            return text.isascii() and text.lstrip("-").isdigit() and -most <= int(text) < most
        if kind.startswith("float"):
            return math.isfinite(float(text)) and "_" not in text and text == text.strip()
        return datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        return False
