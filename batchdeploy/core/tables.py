"""Whose table it is, and what its rows hold: a published table takes one deployment's rows of one shape."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from batchdeploy.core import FORBID_UNKNOWN
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
    "only, and DuckDB and Polars fail unless told to unite them, until those are scored again by backfill"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRecord:
    """What a table remembers, as ``table.json`` of its control folder (or its pointer) holds it.

    Attributes:
        deployment: the name of the deployment that publishes into it; None where nothing says so.
        model: the registered model's name.
        partition: the partition column.
        columns: name to Arrow type of what its newest files hold; empty where that is unknown.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    deployment: str | None
    model: str | None
    partition: str | None
    columns: dict[str, str]


def describe_table(deployment: Deployment, schema: InputSchema) -> TableRecord:
    """What the table is like once a partition with these input columns is published.

    Args:
        deployment: who publishes.
        schema: the input; keys and kept columns are written with its types.
    """
    types = {column.name: plain_type(column.type) for column in schema.columns}
    copied = {name: types.get(name, "unknown") for name in (*deployment.data.keys, *deployment.output.keep)}
    outputs = {name: OUTPUT_TYPES.get(column.type, column.type) for name, column in deployment.outputs}
    return table_record(deployment, copied | outputs | RESERVED_TYPES)


def table_record(deployment: Deployment, columns: Mapping[str, str]) -> TableRecord:
    """What a table of this deployment remembers, its files having these columns."""
    return TableRecord(
        deployment=deployment.name,
        model=deployment.model.name,
        partition=deployment.data.partition.column,
        columns=dict(columns),
    )


def check_owner(where: str, table: TableRecord | None, deployment: Deployment) -> None:
    """Does nothing where the table is this deployment's, or nobody's.

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
    """Does nothing where what would be published is like what the table holds.

    Args:
        where: the table, for people.
        table: what it remembers; None where nothing is published in it.
        mine: what it would be like afterwards.
        evolve: whether another model or other columns are wanted.

    Raises:
        TableError: another model, or other columns, and nobody said that this is wanted.
    """
    problems = () if table is None or evolve else tuple(_changes(table, mine))
    if problems:
        hint = f"give the new rows an output.path of their own, or say --evolve: {READERS}"
        raise TableError(where, problems, hint=hint)


def plain_type(name: str) -> str:
    """The type that the values of an input column are written as, however they are encoded there."""
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
    """Timestamps of another unit read alike."""
    return TIMESTAMP.sub("timestamp[", kind)
