"""What every validator does: the fake one, and Great Expectations."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
from fakes import FakeValidator

from batchdeploy.adapters.great_expectations import GxValidator
from batchdeploy.errors import DataError
from batchdeploy.ports import Validator

NOT_NULL = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "x"}}
BETWEEN = {
    "type": "expect_column_values_to_be_between",
    "kwargs": {"column": "y", "min_value": 0, "max_value": 9},
    "meta": {"level": "warn"},
}
COUNT = {"type": "expect_table_row_count_to_equal", "kwargs": {"value": 3}}
FRAME = pd.DataFrame({"x": [1.0, None, 3.0], "y": [1.0, 20.0, 3.0]})


@pytest.fixture(scope="module", params=[FakeValidator, GxValidator], ids=["fake", "gx"])
def validator(request: pytest.FixtureRequest) -> Validator:
    made: Validator = request.param()
    return made


def suite(*expectations: Any) -> str:
    return json.dumps({"name": "s", "expectations": list(expectations)})


def test_a_sound_suite_has_no_problems(validator: Validator) -> None:
    assert validator.problems(suite(NOT_NULL, BETWEEN, COUNT), where="s.json") == ()


@pytest.mark.parametrize("text", ["{", "[]", suite()])
def test_what_is_no_suite_is_refused(validator: Validator, text: str) -> None:
    with pytest.raises(DataError, match=r"s\.json"):
        validator.problems(text, where="s.json")


def test_problems_name_the_expectation(validator: Validator) -> None:
    unknown = {"type": "expect_the_moon", "kwargs": {}}
    misspelt = NOT_NULL | {"kwarg": {}}
    found = validator.problems(suite(NOT_NULL, unknown, misspelt), where="s.json")
    assert [problem.path for problem in found] == [
        "expectations.1.type",
        "expectations.2.kwarg",
        "expectations.2",
    ]


def test_columns_are_those_that_are_looked_at(validator: Validator) -> None:
    assert validator.columns(suite(NOT_NULL, BETWEEN), where="s.json") == {"x", "y"}
    assert validator.columns(suite(COUNT, NOT_NULL), where="s.json") == {"x"}


def test_results_come_in_the_suites_order_and_a_failing_one_is_a_result(validator: Validator) -> None:
    nulls, between, count = validator.check(suite(NOT_NULL, BETWEEN, COUNT), FRAME, where="s.json")
    assert (nulls.column, nulls.level, nulls.success, nulls.unexpected) == ("x", "block", False, 1)
    assert (between.column, between.level, between.success, between.unexpected) == ("y", "warn", False, 1)
    assert (count.column, count.success) == (None, True)


def test_a_share_of_rows_may_fail(validator: Validator) -> None:
    mostly = {"type": NOT_NULL["type"], "kwargs": {"column": "x", "mostly": 0.5}}
    (result,) = validator.check(suite(mostly), FRAME, where="s.json")
    assert result.success


def test_a_column_that_is_not_there_is_a_result_too(validator: Validator) -> None:
    absent = {"type": NOT_NULL["type"], "kwargs": {"column": "z"}}
    (result,) = validator.check(suite(absent), FRAME, where="s.json")
    assert not result.success
    assert result.exception is not None
