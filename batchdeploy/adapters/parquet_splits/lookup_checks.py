"""Checks the tables of feature lookups before any task starts, and adds their columns to the schema."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa

from batchdeploy.adapters.parquet_splits.input_checks import Footer, inspect, read_footers
from batchdeploy.adapters.parquet_splits.lookups import (
    MEBIBYTE,
    load_index,
    table_schema,
    too_large,
    used_columns,
)
from batchdeploy.core.arrow_types import DATES, INTEGERS, STRINGS, arrow_family
from batchdeploy.core.pins import Column, DataPin, LookupPin
from batchdeploy.core.policy import LimitsSpec
from batchdeploy.core.records import InputSchema
from batchdeploy.errors import DataError, Problem
from batchdeploy.kernel.columns import value_type


def inspect_input(
    pin: DataPin, limits: LimitsSpec = LimitsSpec(), *, engine: str = "local", read: str = "splits"
) -> InputSchema:
    """Columns and rows of a partition, with the columns that lookups add; see `inspect`.

    Raises:
        DataError: see `inspect` and `add_lookup_columns`.
    """
    return add_lookup_columns(inspect(pin, limits, engine=engine, read=read), pin, limits)


def add_lookup_columns(schema: InputSchema, pin: DataPin, limits: LimitsSpec) -> InputSchema:
    """The columns of a partition with those that lookups add.

    Args:
        schema: of the partition.
        pin: with its lookups.
        limits: the largest table.

    Raises:
        DataError: a lookup's table cannot be read or is larger than ``limits.lookup_mib``, has not the
            columns that are named, or has two rows for a key.
    """
    for lookup in pin.lookups:
        problems, footers = read_footers(lookup.files, lookup.storage, limits)
        footers = [footer._replace(schema=table_schema(footer.schema, footer.file)) for footer in footers]
        problems = problems or [*_schema_problems(lookup, footers), *_size_problems(lookup, footers, limits)]
        problems = problems or [*_column_problems(lookup, footers[0].schema, schema.columns)]
        if problems:
            raise DataError(lookup.path, tuple(problems))
        load_index(lookup, limits.lookup_mib)
        types = {name: value_type(footers[0].schema.field(name).type) for _, name in lookup.columns}
        # Not required: a row without a match has none.
        added = tuple(Column(name=new, type=str(types[old]), required=False) for new, old in lookup.columns)
        schema = replace(schema, columns=(*schema.columns, *added))
    return schema


def _schema_problems(lookup: LookupPin, footers: Sequence[Footer]) -> Iterator[Problem]:
    for footer in footers:
        names, first = footer.schema.names, footers[0]
        for name in used_columns(lookup):
            if names.count(name) != 1:
                what = "has no such column" if name not in names else "has a column twice"
                yield Problem(footer.file.path, what, name)
            elif first.schema.names.count(name) == 1:
                kind, wanted = footer.schema.field(name).type, first.schema.field(name).type
                if value_type(kind) != value_type(wanted):
                    text = f"holds {name} as another type than {first.file.path}: expected {wanted}"
                    yield Problem(footer.file.path, text, str(kind))


def _size_problems(lookup: LookupPin, footers: Sequence[Footer], limits: LimitsSpec) -> Iterator[Problem]:
    used, size = {*used_columns(lookup)}, 0
    for metadata in (footer.metadata for footer in footers):
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            chunks = map(group.column, range(group.num_columns))
            size += sum(c.total_uncompressed_size for c in chunks if c.path_in_schema.split(".")[0] in used)
    if size > limits.lookup_mib * MEBIBYTE:
        yield too_large(limits.lookup_mib, size)


def _column_problems(lookup: LookupPin, schema: pa.Schema, data: Sequence[Column]) -> Iterator[Problem]:
    """Keys that cannot be matched, a time that is none, and columns that the rows have already."""
    types = {column.name: column.type for column in data}
    taken = {column.name.lower() for column in data}
    for mine, its in lookup.keys:
        there = str(value_type(schema.field(its).type))
        if mine not in types:
            yield Problem("keys", "no such column in the data", mine)
        elif _key_kind(types[mine]) is None or _key_kind(there) is None:
            bad = types[mine] if _key_kind(types[mine]) is None else there
            yield Problem(
                f"keys: {mine}", "cannot be matched; keys are texts, whole numbers, dates or booleans", bad
            )
        elif _key_kind(types[mine]) != _key_kind(there):
            text = f"is {there} in the table, and {types[mine]} in the data; write both with the same type"
            yield Problem(f"keys: {mine}", text)
    for new, _ in lookup.columns:
        if new.lower() in taken:
            remedy = f"give the looked-up column another name, columns: {{NEW_NAME: {new}}}"
            yield Problem("columns", f"is a column of the data already; {remedy}", new)
    if lookup.as_of is not None:
        kind = schema.field(lookup.as_of).type
        if not (pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
            yield Problem(
                "as_of", f"{lookup.as_of} holds no dates or timestamps; write it as such", str(kind)
            )


def _key_kind(type_name: str) -> str | None:
    """What values of two types must have in common to be matched; None for types that cannot be keys."""
    family = arrow_family(type_name)
    if family in STRINGS:
        return "text"
    if family in INTEGERS:
        return "unsigned" if family == "uint64" else "integer"
    return "date" if family in DATES else "boolean" if family == "bool" else None
