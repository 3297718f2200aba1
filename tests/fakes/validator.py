"""Suites read as strictly as by the real validator, and three expectations evaluated on pandas frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from batchdeploy.core.records import ExpectationResult
from batchdeploy.core.suites import (
    Entry,
    argument_problems,
    columns_of,
    entry_problems,
    level_of,
    suite_entries,
)
from batchdeploy.documents import canonical, parse_json
from batchdeploy.errors import Problem


class FakeValidator:
    """Knows `expect_column_values_to_not_be_null`, `..._to_be_between` and `expect_table_row_count_to_equal`.

    Attributes:
        checked: the columns of each frame that was checked, in order.
    """

    def __init__(self) -> None:
        self.checked: list[tuple[str, ...]] = []

    def problems(self, suite_text: str, *, where: str) -> tuple[Problem, ...]:
        """What is wrong with a suite; DataError where the text is none."""
        return tuple(_problems(_entries(suite_text, where)))

    def columns(self, suite_text: str, *, where: str) -> frozenset[str] | None:
        """The columns that the suite looks at, or None where it looks at the table as a whole."""
        found = [columns_of(entry) for entry in _entries(suite_text, where).values()]
        return None if None in found else frozenset[str]().union(*(names for names in found if names))

    def check(self, suite_text: str, frame: Any, *, where: str) -> tuple[ExpectationResult, ...]:
        """Evaluates every expectation; one that cannot be evaluated fails, and says why."""
        self.checked.append(tuple(frame.columns))
        return tuple(_result(entry, frame) for entry in _entries(suite_text, where).values())


def _entries(suite_text: str, where: str) -> Mapping[int, Entry]:
    return suite_entries(parse_json(suite_text, where=where), where=where)


def _problems(entries: Mapping[int, Entry]) -> Iterator[Problem]:
    seen: set[bytes] = set()
    for place, entry in entries.items():
        path = f"expectations.{place}"
        found = tuple(entry_problems(path, entry))
        yield from found
        if not found:
            yield from argument_problems(f"{path}.kwargs", entry["kwargs"])
            if entry["type"] not in KNOWN:
                yield Problem(f"{path}.type", "is not known", entry["type"])
        identity = canonical([entry.get("type"), entry.get("kwargs")])
        if identity in seen:
            yield Problem(path, "duplicates an earlier expectation", entry["type"])
        seen.add(identity)


def _result(entry: Entry, frame: Any) -> ExpectationResult:
    kwargs = dict(entry["kwargs"])
    column = kwargs.pop("column", None)
    evaluated, bad, exception = 0, 0, None
    try:
        evaluated, bad = KNOWN[entry["type"]](frame, column, kwargs)
    except KeyError as error:
        exception = f"there is no {error}"
    return ExpectationResult(
        expectation=entry["type"],
        column=column,
        arguments=", ".join(f"{key}={value}" for key, value in kwargs.items() if key != "mostly"),
        level=level_of(entry),
        success=exception is None and bad <= (1 - kwargs.get("mostly", 1)) * evaluated,
        evaluated=evaluated,
        unexpected=bad,
        exception=exception,
    )


def _nulls(frame: Any, column: str, _: Entry) -> tuple[int, int]:
    return len(frame), int(frame[column].isna().sum())


def _outside(frame: Any, column: str, kwargs: Entry) -> tuple[int, int]:
    values = frame[column].dropna()
    inside = values.between(kwargs.get("min_value", float("-inf")), kwargs.get("max_value", float("inf")))
    return len(values), int((~inside).sum())


def _other_count(frame: Any, _: str, kwargs: Entry) -> tuple[int, int]:
    return len(frame), abs(len(frame) - int(kwargs["value"]))


KNOWN: dict[str, Callable[[Any, Any, Entry], tuple[int, int]]] = {
    "expect_column_values_to_not_be_null": _nulls,
    "expect_column_values_to_be_between": _outside,
    "expect_table_row_count_to_equal": _other_count,
}
