"""Conditions on rows (``data.where``), expressed as data and never as text to execute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from batchdeploy.core import FORBID_UNKNOWN
from batchdeploy.errors import Problem

Value = str | bool | int | float
Op = Literal["eq", "ne", "lt", "le", "gt", "ge", "in", "not_in", "is_null", "not_null"]
ORDERED = ("lt", "le", "gt", "ge")
LISTS = ("in", "not_in")
NO_VALUE = ("is_null", "not_null")
MAX_INTEGER = 1 << 63
# Python types of values to the Arrow families of columns that they can be compared with.
COMPARABLE: dict[type, tuple[str, ...]] = {
    bool: ("bool",),
    int: ("int", "uint", "float", "double", "halffloat"),
    float: ("int", "uint", "float", "double", "halffloat"),
    str: ("string", "large_string", "string_view", "date32", "date64", "timestamp"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicate:
    """One condition on one column; several are combined by AND.

    A null or NaN matches ``is_null`` and nothing else, as in SQL.

    Attributes:
        op: ``eq``, ``ne``, ``lt``, ``le``, ``gt``, ``ge`` with a value; ``in``, ``not_in`` with a list;
            ``is_null``, ``not_null`` with none.
        value: the value or list; dates and timestamps in ISO 8601.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    column: str
    op: Op
    value: Value | tuple[Value, ...] | None = None

    @property
    def values(self) -> tuple[Value, ...]:
        """The values as a tuple, empty if there is none."""
        if self.value is None:
            return ()
        return self.value if isinstance(self.value, tuple) else (self.value,)


def predicate_problems(where: Sequence[Predicate]) -> Iterator[Problem]:
    """The predicates whose operator and value do not match."""
    for number, predicate in enumerate(where):
        path, given = f"data.where[{number}]", predicate.value
        if predicate.op in NO_VALUE and given is not None:
            yield Problem(path, f"{predicate.op} takes no value", repr(given))
        elif predicate.op in LISTS and not (isinstance(given, tuple) and given):
            yield Problem(path, f"{predicate.op} takes a list of values", repr(given))
        elif predicate.op not in (*LISTS, *NO_VALUE) and (given is None or isinstance(given, tuple)):
            yield Problem(path, f"{predicate.op} takes one value", repr(given))
        elif any(type(value) is int and not abs(value) < MAX_INTEGER for value in predicate.values):
            yield Problem(path, "its value does not fit 64 bits", repr(given))
        elif len({float if type(value) is int else type(value) for value in predicate.values}) > 1:
            yield Problem(path, "its values are of different types", repr(given))


def column_problems(where: Sequence[Predicate], columns: Mapping[str, str]) -> Iterator[Problem]:
    """The predicates that do not fit the data's columns.

    Args:
        where: the predicates.
        columns: name to Arrow family (``timestamp``, not ``timestamp[us]``).
    """
    for number, predicate in enumerate(where):
        path, family = f"data.where[{number}]", columns.get(predicate.column)
        if family is None:
            yield Problem(path, "no such column in the data", predicate.column)
            continue
        for value in predicate.values:
            if not family.startswith(COMPARABLE[type(value)]):
                yield Problem(path, f"{predicate.column} is {family}, and cannot be compared", repr(value))
                break
            if family.startswith(("date", "timestamp")) and not _is_time(str(value)):
                yield Problem(path, f"{predicate.column} is {family}; wanted is ISO 8601", repr(value))
                break
        if predicate.op in ORDERED and family == "bool":
            yield Problem(path, f"{predicate.op} does not fit a boolean", predicate.column)


def _is_time(text: str) -> bool:
    try:
        as_utc(text)
    except ValueError:
        return False
    return True


def as_utc(text: str) -> datetime:
    """A date or time in UTC, without a time zone; one without an offset is taken for UTC.

    Raises:
        ValueError: the text is not ISO 8601.
    """
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is None else found.astimezone(UTC).replace(tzinfo=None)
