"""The owner and columns of a published table: one deployment, one set of columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from batchdeploy.core import FORBID_UNKNOWN
from batchdeploy.core.casts import cast_columns
from batchdeploy.core.deployment import RESERVED, Deployment
from batchdeploy.core.records import InputSchema
from batchdeploy.errors import Problem, TableError

OUTPUT_TYPES = {"long": "int64", "integer": "int32", "boolean": "bool"}
RESERVED_TYPES = dict(zip(RESERVED, ("int64", "string", "timestamp[us, tz=UTC]"), strict=True))
PLAIN_TYPES = {"large_string": "string", "string_view": "string"}
PLAIN_TYPES |= {"large_binary": "binary", "binary_view": "binary"}
DICTIONARY = re.compile(r"dictionary<values=(.+), indices=\w+, ordered=\w+>")
TIMESTAMP = re.compile(r"timestamp\[(?:s|ms|us|ns)\b")
READERS = (
    "partitions published before keep their columns, so that pandas and Spark show the columns of one file "
    "only, and DuckDB and Polars fail without options to unite them, until a backfill scores those again"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRecord:
    """The record of a table in ``table.json`` of its control folder, or in its pointer.

    Attributes:
        deployment: the name of the deployment that publishes into it; None if unknown.
        model: the registered model's name.
        partition: the partition column.
        columns: name to Arrow type, as in its newest files; empty if unknown.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    deployment: str | None
    model: str | None
    partition: str | None
    columns: dict[str, str]


def describe_table(deployment: Deployment, schema: InputSchema) -> TableRecord:
    """The table's record after a partition with these input columns is published.

    Args:
        deployment: the deployment that publishes.
        schema: the input schema; keys and kept columns keep its types, or those of ``data.casts``.
    """
    columns = cast_columns(schema.columns, deployment.data.casts)
    types = {column.name: plain_type(column.type) for column in columns}
    copied = {name: types.get(name, "unknown") for name in (*deployment.data.keys, *deployment.output.keep)}
    outputs = {name: OUTPUT_TYPES.get(column.type, column.type) for name, column in deployment.outputs}
    return table_record(deployment, copied | outputs | RESERVED_TYPES)


def table_record(deployment: Deployment, columns: Mapping[str, str]) -> TableRecord:
    """The record of this deployment's table with these columns."""
    return TableRecord(
        deployment=deployment.name,
        model=deployment.model.name,
        partition=deployment.data.partition.column,
        columns=dict(columns),
    )


def check_owner(where: str, table: TableRecord | None, deployment: Deployment) -> None:
    """Raises if the table belongs to another deployment.

    Raises:
        TableError: it is another deployment's, or is partitioned by another column.
    """
    if table is None:
        return
    problems = []
    if table.deployment not in (None, deployment.name):
        problems.append(
            Problem("name", f"this table belongs to deployment {table.deployment}", deployment.name)
        )
    column = deployment.data.partition.column
    if table.partition not in (None, column):
        text = f"this table is partitioned by {table.partition}"
        problems.append(Problem("data.partition.column", text, column))
    if problems:
        raise TableError(where, tuple(problems), hint="give this deployment an output.path of its own")


def check_table(where: str, table: TableRecord | None, mine: TableRecord, *, evolve: bool) -> None:
    """Raises if publishing would change the table's model or columns without ``evolve``.

    Args:
        where: the table's name for messages.
        table: the table's record; None if nothing is published in it.
        mine: the record after publishing.
        evolve: whether the model and columns may change.

    Raises:
        TableError: the model or the columns differ, and ``evolve`` is false.
    """
    problems = () if table is None or evolve else tuple(_changes(table, mine))
    if problems:
        hint = f"give the new rows an output.path of their own, or say --evolve: {READERS}"
        raise TableError(where, problems, hint=hint)


def plain_type(name: str) -> str:
    """The Arrow type that an input column is written as, without dictionary or large encodings."""
    values = DICTIONARY.fullmatch(name)
    name = values[1] if values else name
    return PLAIN_TYPES.get(name, name)


def _changes(table: TableRecord, mine: TableRecord) -> Iterator[Problem]:
    if table.model not in (None, mine.model):
        yield Problem("model.name", f"this table holds the scores of model {table.model}", mine.model)
    if not table.columns:
        return
    for name, kind in table.columns.items():
        if name not in mine.columns:
            yield Problem(name, "is a column of this table, and would be missing")
        elif _family(kind) != _family(mine.columns[name]):
            yield Problem(name, f"is {kind} in this table", mine.columns[name])
    for name in mine.columns:
        if name not in table.columns:
            yield Problem(name, "is not a column of this table, and would be new")


def _family(kind: str) -> str:
    """The type without a timestamp's unit, which readers do not distinguish."""
    return TIMESTAMP.sub("timestamp[", kind)
