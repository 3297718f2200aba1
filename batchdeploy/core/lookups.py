"""Feature lookups: columns of another table, joined to the rows as they were at the partition's end."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from batchdeploy.core import FORBID_UNKNOWN
from batchdeploy.errors import Problem

Names = tuple[str, ...] | dict[str, str]
TableFormat = Literal["delta", "iceberg"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupSpec:
    """Columns that rows get from another table, by key.

    Each row keeps its place: a row without a match has nulls in these columns, and no row is added, lost or
    doubled.

    Attributes:
        path: a Parquet file, or a folder of Parquet files; relative to the project's root, or a URI. What DVC
            records is read at ``data.rev``. With another ``format``, a table, named like ``data.path``.
        format: ``parquet``, ``delta`` or ``iceberg``. A table's files are read at one version of it.
        rev: of a Delta table the version, of an Iceberg table the snapshot id, branch or tag; null reads the
            newest.
        keys: the columns to match, of the same names in the data and in the table; or the data's column to
            the table's. A null matches nothing.
        columns: the columns to take; or the new name to the table's.
        as_of: the table's column that tells from when a row is valid, a date or timestamp. Of the rows of a
            key, the newest that was valid before the partition ended is taken; later ones are not seen. Times
            without a zone are in the partition's. null: the table has one row for each key.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    path: str
    format: Literal["parquet", "delta", "iceberg"] = "parquet"
    rev: str | int | None = None
    keys: Names
    columns: Names
    as_of: str | None = None


def pairs(names: Names) -> tuple[tuple[str, str], ...]:
    """(name in the rows, name in the table) of each column."""
    return tuple(names.items()) if isinstance(names, dict) else tuple((name, name) for name in names)


def lookup_problems(
    lookups: Sequence[LookupSpec], *, data: str, output: str, taken: Mapping[str, str]
) -> Iterator[Problem]:
    """The problems of a deployment's lookups that can be told without the table.

    Args:
        lookups: as declared.
        data: ``data.path``.
        output: ``output.path``.
        taken: names that rows or scores have already, each with what it is.
    """
    used = {name.lower(): what for name, what in taken.items()}
    for number, lookup in enumerate(lookups):
        path = f"data.lookups.{number}"
        yield from _path_problems(f"{path}.path", lookup.path, {"data.path": data, "output.path": output})
        yield from _rev_problems(f"{path}.rev", lookup)
        if not lookup.keys:
            yield Problem(f"{path}.keys", "name at least one key column")
        if not lookup.columns:
            yield Problem(f"{path}.columns", "name at least one column to look up")
        for names in (lookup.keys, lookup.columns):
            twice = {name for name, _ in pairs(names) if [n for n, _ in pairs(names)].count(name) > 1}
            yield from (Problem(path, "names a column twice", name) for name in sorted(twice))
        for name, _ in pairs(lookup.columns):
            if (what := used.get(name.lower())) is not None:
                remedy = f"give it another name, columns: {{NEW_NAME: {name}}}"
                yield Problem(f"{path}.columns", f"is {what} already; {remedy}", name)
            used[name.lower()] = f"a column of data.lookups.{number}"


def is_delta_version(rev: str | int) -> bool:
    """Whether a revision can be the version of a Delta table."""
    return re.fullmatch(r"\d{1,18}", str(rev)) is not None


def _rev_problems(key: str, lookup: LookupSpec) -> Iterator[Problem]:
    if lookup.rev is None:
        return
    if lookup.format == "parquet":
        what = "is of tables; Parquet files that DVC records are read at data.rev"
        yield Problem(key, what, str(lookup.rev))
    elif lookup.format == "delta" and not is_delta_version(lookup.rev):
        yield Problem(key, "is not the version of a Delta table", str(lookup.rev))


def _path_problems(key: str, path: str, folders: Mapping[str, str]) -> Iterator[Problem]:
    if not path.strip() or "\0" in path:
        yield Problem(key, "must be a path", repr(path))
        return
    inside = os.path.normpath(path)
    for name, folder in folders.items():
        outer = os.path.normpath(folder)
        if inside == outer or inside.startswith(f"{outer}/") or outer.startswith(f"{inside}/"):
            why = "scores are no features" if name == "output.path" else "its files would be rows to score"
            yield Problem(key, f"must be outside {name}; {why}", path)
