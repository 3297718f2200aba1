"""Predicates on rows: what does not go together."""

from __future__ import annotations

from typing import Any

import pytest

from batchdeploy.core.predicates import Predicate, column_problems, predicate_problems

WRONG: dict[str, tuple[tuple[str, str, Any], str]] = {
    "a value where none belongs": (("n", "is_null", 1), "is_null takes no value"),
    "an empty list": (("n", "in", ()), "in takes a list of values"),
    "one value for a list": (("n", "in", 1), "in takes a list of values"),
    "a list for one value": (("n", "eq", (1, 2)), "eq takes one value"),
    "nothing for one value": (("n", "eq", None), "eq takes one value"),
    "a number beyond 64 bits": (("n", "eq", 2**70), "does not fit 64 bits"),
    "mixed": (("n", "in", (1, "a")), "different types"),
}


@pytest.mark.parametrize(("asked", "expected"), WRONG.values(), ids=WRONG.keys())
def test_operator_and_value_have_to_go_together(asked: tuple[str, Any, Any], expected: str) -> None:
    column, op, value = asked
    (problem,) = predicate_problems([Predicate(column=column, op=op, value=value)])
    assert expected in str(problem)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (("m", "eq", 1), "no such column"),
        (("n", "eq", "1"), "n is int32, and cannot be compared"),
        (("s", "eq", 1), "s is string, and cannot be compared"),
        (("b", "eq", 1), "b is bool, and cannot be compared"),
        (("d", "lt", "soon"), "wanted is ISO 8601"),
        (("b", "lt", True), "lt does not fit a boolean"),
    ],
)
def test_a_predicate_has_to_fit_the_data(asked: tuple[str, Any, Any], expected: str) -> None:
    column, op, value = asked
    families = {"n": "int32", "s": "string", "b": "bool", "d": "date32"}
    (problem,) = column_problems([Predicate(column=column, op=op, value=value)], families)
    assert expected in str(problem)
