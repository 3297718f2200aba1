from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from batchdeploy.adapters.gx_validator import GxValidator
from batchdeploy.core.records import CheckReport
from batchdeploy.errors import DataError

NOT_NULL = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "x"}}
BETWEEN = {
    "type": "expect_column_values_to_be_between",
    "kwargs": {"column": "x", "min_value": 0, "max_value": 9},
}


def suite(*expectations: Any, **more: Any) -> str:
    return json.dumps({"name": "s", "expectations": list(expectations)} | more)


def check(frame: pd.DataFrame, *expectations: Any) -> CheckReport:
    results = GxValidator().check(suite(*expectations), frame, where="s.json")
    return CheckReport(run_id="r", started_at="", rows=len(frame), results=results)


NO_SUITES = {
    "not JSON": ("{", "JSON"),
    "a list": ("[]", "not an expectation suite"),
    "no expectations": ('{"name": "s"}', "needs a list under 'expectations'"),
    "an empty suite": (suite(), "an empty suite passes everything"),
    "an unknown key": (suite(NOT_NULL, expectation=[]), "expectation: unknown key"),
    "NaN": ('{"name": "s", "expectations": [{"type": "x", "kwargs": {"a": NaN}}]}', "NaN is not JSON"),
}


@pytest.mark.parametrize(("text", "expected"), NO_SUITES.values(), ids=NO_SUITES.keys())
def test_refuses_what_is_no_suite(text: str, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        GxValidator().problems(text, where="s.json")


def test_a_suite_that_was_evaluated_is_known_to_be_sound_without_gx(tmp_path: Path) -> None:
    text, twice = suite(NOT_NULL, BETWEEN), suite(NOT_NULL, NOT_NULL)
    marks = tmp_path / "suites"
    validator = GxValidator(marks)
    assert validator.problems(text, where="s.json") == ()
    assert not marks.exists()
    for given in (text, twice):
        validator.check(given, pd.DataFrame({"x": [1.0, 2.0]}), where="s.json")
    asked = (
        "import sys; from pathlib import Path; from batchdeploy.adapters.gx_validator import GxValidator;"
        "found = GxValidator(Path(sys.argv[1])).problems(sys.argv[2], where='s.json');"
        "print(len(found), 'great_expectations' in sys.modules)"
    )

    def said(words: str) -> str:
        command = [sys.executable, "-c", asked, str(marks), words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert said(text) == "0 False"
    assert len(validator.problems(twice, where="s.json")) == 1
    assert len(list(marks.iterdir())) == 1


UNSOUND = {
    "an unknown expectation": (
        {"type": "expect_column_to_sparkle", "kwargs": {"column": "x"}},
        "does not know",
    ),
    "an unknown argument": (NOT_NULL | {"kwargs": {"column": "x", "min": 1}}, "refuses its arguments"),
    "a missing argument": (
        {"type": "expect_column_values_to_be_in_set", "kwargs": {}},
        "refuses its arguments",
    ),
    "mostly above one": (NOT_NULL | {"kwargs": {"column": "x", "mostly": 2}}, "refuses its arguments"),
    "an unknown level": (NOT_NULL | {"meta": {"level": "maybe"}}, "must be block or warn"),
    "no arguments at all": ({"type": NOT_NULL["type"]}, "kwargs: is required"),
    "an unknown key": (NOT_NULL | {"args": {}}, "args: unknown key"),
    "limits the wrong way round": (
        BETWEEN | {"kwargs": {"column": "x", "min_value": 9, "max_value": 0}},
        "min_value lies above max_value",
    ),
    "a number GX would round": (
        BETWEEN | {"kwargs": {"column": "x", "max_value": 2**53 + 1}},
        "beyond 2\\*\\*53",
    ),
    "a suite parameter": (
        BETWEEN | {"kwargs": {"column": "x", "max_value": {"$PARAMETER": "m"}}},
        "suite parameters are not taken",
    ),
    "an empty set": (
        {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "x", "value_set": []}},
        "value_set: is empty",
    ),
    "an override": (
        NOT_NULL | {"kwargs": {"column": "x", "result_format": "BASIC"}},
        "result_format: not taken",
    ),
}


@pytest.mark.parametrize(("entry", "expected"), UNSOUND.values(), ids=UNSOUND.keys())
def test_names_what_gx_would_drop_or_trip_over(entry: Any, expected: str) -> None:
    problems = GxValidator().problems(suite(NOT_NULL, entry), where="s.json")
    assert any(re.search(expected, str(problem)) for problem in problems), problems


def test_the_same_expectation_twice_is_a_mistake() -> None:
    assert "stands here twice" in str(GxValidator().problems(suite(NOT_NULL, NOT_NULL), where="s.json")[0])


def test_a_sound_suite_has_no_problems() -> None:
    assert GxValidator().problems(suite(NOT_NULL, BETWEEN), where="s.json") == ()


def test_reports_every_expectation_in_the_suites_order() -> None:
    frame = pd.DataFrame({"x": [1.0, 12.0, None, 5.0], "y": ["a", "b", "b", "c"]})
    unique = {
        "type": "expect_column_values_to_be_unique",
        "kwargs": {"column": "y"},
        "meta": {"level": "warn"},
    }
    report = check(frame, BETWEEN, unique, NOT_NULL)
    assert [r.expectation for r in report.results] == [BETWEEN["type"], unique["type"], NOT_NULL["type"]]
    assert [(r.level, r.success) for r in report.results] == [
        ("block", False),
        ("warn", False),
        ("block", False),
    ]
    assert (report.results[0].evaluated, report.results[0].unexpected) == (3, 1)
    assert report.results[0].examples == ("12.0",)
    assert len(report.blocking) == 2


def test_an_expectation_that_raises_fails() -> None:
    missing = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "nonesuch"}}
    report = check(pd.DataFrame({"x": [1.0]}), missing, NOT_NULL)
    assert not report.results[0].success
    assert "nonesuch" in str(report.results[0].exception)
    assert report.results[1].success


def test_nothing_evaluated_is_not_a_pass() -> None:
    report = check(pd.DataFrame({"x": pd.Series([None, None], dtype="float64")}), BETWEEN)
    assert not report.results[0].success
    assert report.results[0].exception == "no value to evaluate"


def test_a_suite_says_which_columns_it_looks_at() -> None:
    pair = {
        "type": "expect_column_pair_values_to_be_equal",
        "kwargs": {"column_A": "a", "column_B": "b"},
    }
    compound = {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["c", "d"]}}
    count = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    columns = {"type": "expect_table_column_count_to_equal", "kwargs": {"value": 3}}
    look = GxValidator().columns
    assert look(suite(NOT_NULL, pair, compound, count), where="s") == {"x", "a", "b", "c", "d"}
    assert look(suite(count), where="s") == frozenset()
    assert look(suite(NOT_NULL, columns), where="s") is None
