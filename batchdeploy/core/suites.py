"""Strict checks of a Great Expectations suite: entries, levels, conditions, columns.

Great Expectations is not imported here; the adapter checks whether it knows an expectation and accepts its
arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from batchdeploy.errors import DataError, Problem

Entry = dict[str, Any]
Level = Literal["block", "warn"]
SUITE_KEYS = {"name", "expectations", "meta", "notes", "id", "suite_parameters"}
ENTRY_KEYS = {
    "type",
    "kwargs",
    "meta",
    "id",
    "notes",
    "description",
    "severity",
    "rendered_content",
    "expectation_context",
}
LEVELS = ("block", "warn")
# NOTE: Great Expectations saves a severity with every expectation, "critical" by default.
SEVERITIES: dict[str, Level] = {"critical": "block", "warning": "warn", "info": "warn"}
ONE_COLUMN = ("column", "column_A", "column_B")
COUNT_ROWS = {"expect_table_row_count_to_be_between", "expect_table_row_count_to_equal"}
OVERRIDES = {"severity", "meta", "result_format", "catch_exceptions"}
EXACT = 2**53
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
LISTS = ("IN", "NOT_IN")
# NOTE: pandas evaluates these as true for a null, SQL as unknown.
NEGATIONS = ("!=", "NOT_IN")
# NOTE: Great Expectations puts names and values unescaped into expressions that pandas or Spark parse.
UNQUOTED = set("`'\"\\\n\r@")
STRUCTURED = (
    'a text is code to pandas or Spark, and is not run; write it with Column("age") > 30 of '
    "great_expectations.expectations.row_conditions and save the suite again"
)


def suite_entries(suite: Any, *, where: str) -> dict[int, Entry]:
    """The expectations of a suite by position.

    Raises:
        DataError: it is not a suite, it is empty, or it has unknown keys.
    """
    expectations = suite.get("expectations") if isinstance(suite, dict) else None
    if not isinstance(expectations, list) or not all(isinstance(e, dict) for e in expectations):
        raise DataError(where, "not an expectation suite: it needs a list under 'expectations'")
    if not expectations:
        raise DataError(where, "the suite is empty, and an empty suite passes everything")
    if unknown := set(suite) - SUITE_KEYS:
        raise DataError(where, tuple(Problem(key, "unknown key") for key in sorted(unknown)))
    return dict(enumerate(expectations))


def level_of(entry: Entry) -> Level:
    """``block`` or ``warn``: from ``meta.level``, else mapped from ``severity``, else ``block``."""
    meta = entry.get("meta")
    if isinstance(meta, dict) and "level" in meta:
        return "warn" if meta["level"] == "warn" else "block"
    return SEVERITIES.get(str(entry.get("severity")), "block")


def entry_problems(path: str, entry: Entry) -> Iterator[Problem]:
    """The problems of an expectation's keys; `argument_problems` checks its arguments."""
    for key in sorted(set(entry) - ENTRY_KEYS):
        yield Problem(f"{path}.{key}", "unknown key")
    if not isinstance(entry.get("type"), str):
        yield Problem(f"{path}.type", "must be the name of an expectation", repr(entry.get("type")))
    meta = entry.get("meta")
    if not isinstance(meta, dict | None):
        yield Problem(f"{path}.meta", 'must hold keys, such as {"level": "warn"}', repr(meta))
    elif meta and meta.get("level", "block") not in LEVELS:
        yield Problem(f"{path}.meta.level", "must be block or warn", str(meta["level"]))
    severity = entry.get("severity", "critical")
    if not isinstance(severity, str) or severity not in SEVERITIES:
        known = ", ".join(SEVERITIES)
        yield Problem(f"{path}.severity", f"must be one of {known}", repr(severity))
    if not isinstance(entry.get("kwargs"), dict):
        yield Problem(
            f"{path}.kwargs", "is required", None if "kwargs" not in entry else repr(entry["kwargs"])
        )


def argument_problems(path: str, kwargs: Entry) -> Iterator[Problem]:
    """The problems of arguments that Great Expectations itself would accept."""
    for key in sorted(OVERRIDES & set(kwargs)):
        yield Problem(f"{path}.{key}", "is not supported")
    for key in (*ONE_COLUMN, "column_list"):
        named = kwargs.get(key, [] if key == "column_list" else "")
        names = named if key == "column_list" and isinstance(named, list) else [named]
        if not all(isinstance(name, str) for name in names):
            yield Problem(f"{path}.{key}", "must name columns", repr(named))
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    if isinstance(low, (int, float)) and isinstance(high, (int, float)) and low > high:
        yield Problem(path, "min_value is above max_value", f"{low} > {high}")
    for key, value in kwargs.items():
        if isinstance(value, dict) and "$PARAMETER" in value:
            yield Problem(f"{path}.{key}", "suite parameters are not supported")
        if isinstance(value, int) and abs(value) > EXACT:
            yield Problem(f"{path}.{key}", "GX compares as double; this is beyond 2**53", str(value))
        if key == "value_set" and not value:
            yield Problem(f"{path}.{key}", "is empty")
    if kwargs.get("row_condition") is not None:
        yield from condition_problems(f"{path}.row_condition", kwargs["row_condition"])


def columns_of(entry: Entry) -> frozenset[str] | None:
    """The columns that an expectation reads, or None if it reads the whole table."""
    kwargs = entry["kwargs"]
    named = {kwargs[key] for key in ONE_COLUMN if key in kwargs} | set(kwargs.get("column_list") or ())
    if not named and entry["type"] not in COUNT_ROWS:
        return None
    return frozenset(named) | _condition_columns(kwargs.get("row_condition"))


def needed_columns(entry: Entry) -> frozenset[str]:
    """The columns that must exist for an expectation to be evaluated; none for `expect_column_to_exist`."""
    if entry["type"] == "expect_column_to_exist":
        return frozenset()
    return columns_of(entry) or frozenset()


def condition_problems(path: str, condition: Any) -> Iterator[Problem]:
    """The problems of a ``row_condition``; only structured conditions are accepted, never text to execute."""
    kind = condition.get("type") if isinstance(condition, dict) else None
    if kind in ("and", "or"):
        parts = condition.get("conditions")
        if not isinstance(parts, list) or not parts:
            yield Problem(f"{path}.conditions", "must be a list of conditions", repr(parts))
            return
        for place, part in enumerate(parts):
            yield from condition_problems(f"{path}.conditions.{place}", part)
    elif kind in ("comparison", "nullity"):
        yield from _term_problems(path, condition)
    else:
        got = condition.get("pass_through_filter", kind) if isinstance(condition, dict) else condition
        yield Problem(path, STRUCTURED, repr(got))


def plain_condition(condition: Any) -> Any:
    """The condition rewritten so that pandas and Spark agree: a null is neither equal nor unequal."""
    if not isinstance(condition, dict):
        return condition
    if condition["type"] in ("and", "or"):
        return condition | {"conditions": [plain_condition(part) for part in condition["conditions"]]}
    if condition["type"] == "comparison" and condition["operator"] in NEGATIONS:
        there = {"type": "nullity", "column": condition["column"], "is_null": False}
        return {"type": "and", "conditions": [there, condition]}
    return condition


def condition_text(condition: Any) -> str:
    """The condition in one line, for display."""
    if condition["type"] in ("and", "or"):
        joined = f" {condition['type']} ".join(condition_text(part) for part in condition["conditions"])
        return f"({joined})"
    name = condition["column"]["name"]
    if condition["type"] == "nullity":
        return f"{name} is {'null' if condition['is_null'] else 'not null'}"
    return f"{name} {condition['operator'].lower().replace('_', ' ')} {condition['parameter']}"


def _term_problems(path: str, term: Entry) -> Iterator[Problem]:
    column = term.get("column")
    name = column.get("name") if isinstance(column, dict) else None
    if not isinstance(name, str) or not name or UNQUOTED & set(name):
        yield Problem(
            f"{path}.column.name", "must be a column's name, without quotes or backslashes", repr(name)
        )
    if term["type"] == "nullity":
        if not isinstance(term.get("is_null"), bool):
            yield Problem(f"{path}.is_null", "must be true or false", repr(term.get("is_null")))
        return
    operator, value = term.get("operator"), term.get("parameter")
    if operator not in (*COMPARISONS, *LISTS):
        yield Problem(
            f"{path}.operator", f"must be one of {', '.join((*COMPARISONS, *LISTS))}", repr(operator)
        )
        return
    values = value if operator in LISTS and isinstance(value, list) else [value]
    if operator in LISTS and not (isinstance(value, list) and value):
        yield Problem(f"{path}.parameter", f"{operator} takes a list of values", repr(value))
    elif not all(_is_value(v) for v in values):
        yield Problem(
            f"{path}.parameter", "must be a number or a text without quotes or backslashes", repr(value)
        )


def _is_value(value: Any) -> bool:
    if isinstance(value, str):
        return not UNQUOTED & set(value)
    return isinstance(value, (int, float))


def _condition_columns(condition: Any) -> frozenset[str]:
    if not isinstance(condition, dict):
        return frozenset()
    if "conditions" in condition:
        return frozenset[str]().union(*(_condition_columns(part) for part in condition["conditions"]))
    return frozenset({condition["column"]["name"]})
