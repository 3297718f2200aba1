"""Which rows of a partition are meant, as data and never as text that something executes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from batchdeploy.core import FORBID_UNKNOWN
from batchdeploy.errors import Problem

if TYPE_CHECKING:
    import pyarrow as pa

Value = str | bool | int | float
Op = Literal["eq", "ne", "lt", "le", "gt", "ge", "in", "not_in", "is_null", "not_null"]
ORDERED = ("lt", "le", "gt", "ge")
LISTS = ("in", "not_in")
NO_VALUE = ("is_null", "not_null")
LARGEST = 1 << 63
# NOTE: Arrow families of columns to the Python types of values that they can be compared with.
COMPARABLE: dict[type, tuple[str, ...]] = {
    bool: ("bool",),
    int: ("int", "uint", "float", "double", "halffloat"),
    float: ("int", "uint", "float", "double", "halffloat"),
    str: ("string", "large_string", "string_view", "date32", "date64", "timestamp"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicate:
    """One condition on one column; several are all to hold.

    A null, and a NaN, match ``is_null`` and nothing else, as in SQL.

    Attributes:
        op: ``eq``, ``ne``, ``lt``, ``le``, ``gt``, ``ge`` with a value; ``in``, ``not_in`` with a list;
            ``is_null``, ``not_null`` with none.
        value: dates and timestamps in ISO 8601.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    column: str
    op: Op
    value: Value | tuple[Value, ...] | None = None

    @property
    def values(self) -> tuple[Value, ...]:
        """The values, as a list of any length."""
        if self.value is None:
            return ()
        return self.value if isinstance(self.value, tuple) else (self.value,)


def predicate_problems(where: Sequence[Predicate]) -> Iterator[Problem]:
    """Where operator and value do not go together."""
    for number, predicate in enumerate(where):
        path, given = f"data.where[{number}]", predicate.value
        if predicate.op in NO_VALUE and given is not None:
            yield Problem(path, f"{predicate.op} takes no value", repr(given))
        elif predicate.op in LISTS and not (isinstance(given, tuple) and given):
            yield Problem(path, f"{predicate.op} takes a list of values", repr(given))
        elif predicate.op not in (*LISTS, *NO_VALUE) and (given is None or isinstance(given, tuple)):
            yield Problem(path, f"{predicate.op} takes one value", repr(given))
        elif any(type(value) is int and not abs(value) < LARGEST for value in predicate.values):
            yield Problem(path, "its value does not fit 64 bits", repr(given))
        elif len({float if type(value) is int else type(value) for value in predicate.values}) > 1:
            yield Problem(path, "its values are of different types", repr(given))


def column_problems(where: Sequence[Predicate], columns: Mapping[str, str]) -> Iterator[Problem]:
    """Where a predicate does not fit the data.

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


def matching(rows: pa.RecordBatch | pa.Table, where: Sequence[Predicate]) -> pa.Array:
    """Which rows all predicates hold for: a boolean for each, never null.

    Args:
        rows: with all columns that the predicates name.
        where: at least one predicate.

    Raises:
        ValueError: a value is not a date or time, where the column holds such.
    """
    from functools import reduce

    import pyarrow as pa
    import pyarrow.compute as pc

    compare: dict[str, Callable[..., Any]] = {
        "eq": pc.equal,
        "ne": pc.not_equal,
        "lt": pc.less,
        "le": pc.less_equal,
        "gt": pc.greater,
        "ge": pc.greater_equal,
    }

    def holds(predicate: Predicate) -> Any:
        column = rows.column(predicate.column)
        null = pc.is_null(column, nan_is_null=True)
        if predicate.op in NO_VALUE:
            return null if predicate.op == "is_null" else pc.invert(null)
        values = pa.array(predicate.values)
        if pa.types.is_temporal(column.type):
            times = [_utc(str(value)) for value in predicate.values]
            column = column.cast(pa.timestamp("us"), safe=False)
            values = pa.array(times, pa.timestamp("us"))
        elif pa.types.is_integer(column.type) and pa.types.is_integer(values.type):
            wide = pa.decimal128(20, 0) if column.type == pa.uint64() else pa.int64()
            column, values = column.cast(wide), values.cast(wide)
        elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            column, values = column.cast(pa.float64(), safe=False), values.cast(pa.float64(), safe=False)
        if predicate.op in LISTS:
            inside = pc.is_in(column, value_set=values)
            found = inside if predicate.op == "in" else pc.invert(inside)
        else:
            found = compare[predicate.op](column, values[0])
        return pc.and_(pc.fill_null(found, False), pc.invert(null))

    return reduce(pc.and_, [holds(predicate) for predicate in where])


def _is_time(text: str) -> bool:
    try:
        _utc(text)
    except ValueError:
        return False
    return True


def _utc(text: str) -> datetime:
    """A date or a time as UTC, without saying so; one without an offset is UTC."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is None else found.astimezone(UTC).replace(tzinfo=None)
