"""Casts that a deployment declares by column: which are possible, the types they give, and their counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from batchdeploy.core import FORBID_UNKNOWN
from batchdeploy.core.arrow_types import DATES, DECIMALS, FLOATS, INTEGERS, STRINGS, arrow_family
from batchdeploy.core.column_types import list_type
from batchdeploy.core.pins import Column
from batchdeploy.errors import Problem

CastType = Literal["boolean", "integer", "long", "float", "double", "string", "date", "timestamp"]
Casts = Mapping[str, CastType]

_NUMBERS = {*INTEGERS, *FLOATS, *DECIMALS, *STRINGS, "bool"}
# The families of types that each cast takes. Floats are not cast to text: their digits depend on the writer.
SOURCES: dict[CastType, set[str]] = {
    "boolean": _NUMBERS,
    "integer": _NUMBERS,
    "long": _NUMBERS,
    "float": _NUMBERS,
    "double": _NUMBERS,
    "string": {*INTEGERS, *DECIMALS, *STRINGS, *DATES, "bool", "timestamp"},
    "date": {*STRINGS, *DATES, "timestamp"},
    "timestamp": {*STRINGS, *DATES, "timestamp"},
}
ARROW_NAMES: dict[CastType, str] = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float",
    "double": "double",
    "string": "string",
    "date": "date32[day]",
    "timestamp": "timestamp[us]",
}
# The cast that gives a column the type of a model's signature.
MODEL_CASTS: dict[str, CastType] = {
    "boolean": "boolean",
    "integer": "integer",
    "long": "long",
    "float": "float",
    "double": "double",
    "string": "string",
    "datetime": "timestamp",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CastCount:
    """What a declared cast did to a column.

    Attributes:
        source, target: the type in the files (Arrow's name), and the declared one.
        values: how many values were cast; nulls are not.
        rounded: how many of them were rounded to the digits that the declared type has.
        lost: how many of them have no value of the declared type; their rows break ``policy.cast``.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    column: str
    source: str
    target: CastType
    values: int
    rounded: int = 0
    lost: int = 0

    def __str__(self) -> str:
        more = [f"{n:,} {what}" for n, what in ((self.rounded, "rounded"), (self.lost, "lost")) if n]
        counted = f"{self.values:,} value{'' if self.values == 1 else 's'}"
        return f"{self.column}: {self.source} to {self.target}, {', '.join([counted, *more])}"


def can_cast(found: str, target: CastType | None) -> bool:
    """Whether values of an Arrow type, or the elements of lists, can be cast to the target."""
    listed = list_type(found)
    return target is not None and arrow_family(listed.element if listed else found) in SOURCES[target]


def cast_columns(columns: Sequence[Column], casts: Casts | None) -> tuple[Column, ...]:
    """The columns with the types that they have once they are cast."""
    casts = casts or {}
    return tuple(
        replace(column, type=_cast_name(column.type, casts[column.name]))
        if can_cast(column.type, casts.get(column.name))
        else column
        for column in columns
    )


def _cast_name(found: str, target: CastType) -> str:
    return ARROW_NAMES[target] if list_type(found) is None else f"list<item: {ARROW_NAMES[target]}>"


def cast_problems(casts: Casts | None, columns: Sequence[Column], partition: str) -> Iterator[Problem]:
    """The declared casts that the data's columns do not have, or that their types do not take."""
    found = {column.name: column.type for column in columns}
    for name, target in (casts or {}).items():
        path = f"data.casts.{name}"
        if name == partition:
            yield Problem(path, "is the partition column; its values stay as the folders are named")
        elif name not in found:
            yield Problem(path, "no such column in the data")
        elif not can_cast(found[name], target):
            others = ", ".join(kind for kind in SOURCES if can_cast(found[name], kind))
            text = f"the data holds {found[name]}, which is cast to {others or 'no other type'}"
            yield Problem(path, text, target)


def add_counts(counts: Sequence[CastCount]) -> tuple[CastCount, ...]:
    """The counts of several batches or splits, added up by column and type, in the order of the columns."""
    sums: dict[tuple[str, str], CastCount] = {}
    for count in counts:
        before = sums.get((count.column, count.source))
        sums[count.column, count.source] = count if before is None else _sum(before, count)
    return tuple(sums[key] for key in sorted(sums))


def _sum(one: CastCount, other: CastCount) -> CastCount:
    return replace(
        one,
        values=one.values + other.values,
        rounded=one.rounded + other.rounded,
        lost=one.lost + other.lost,
    )
