from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from batchdeploy.adapters.great_expectations import GxValidator
from batchdeploy.core.records import CheckReport
from batchdeploy.errors import DataError

NOT_NULL = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "x"}}
BETWEEN = {
    "type": "expect_column_values_to_be_between",
    "kwargs": {"column": "x", "min_value": 0, "max_value": 9},
}


def suite(*expectations: Any, **more: Any) -> str:
    return json.dumps({"name": "s", "expectations": list(expectations)} | more)


def when(column: str, operator: str, value: Any) -> Any:
    """A row condition as GX saves it."""
    return {"type": "comparison", "column": {"name": column}, "operator": operator, "parameter": value}


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
    "a number beyond all": (
        '{"name": "s", "expectations": [{"type": "x", "kwargs": {"a": 1e999}}]}',
        "1e999 is beyond what a number can be",
    ),
    "half of a character": ('{"name": "\\ud800", "expectations": []}', "half of a character"),
    "no end of brackets": ("[" * 100_000, "nested too deeply"),
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
        "import sys; from pathlib import Path;"
        "from batchdeploy.adapters.great_expectations import GxValidator;"
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
    "meta that is a text": (NOT_NULL | {"meta": "block"}, "meta: must hold keys"),
    "meta that is a list": (NOT_NULL | {"meta": ["block"]}, "meta: must hold keys"),
    "a level that is none": (NOT_NULL | {"meta": {"level": {}}}, "must be block or warn"),
    "a severity that is none": (NOT_NULL | {"severity": "bad"}, "must be one of critical, warning, info"),
    "a severity that is a list": (NOT_NULL | {"severity": ["critical"]}, "must be one of critical"),
    "a type that is a list": (NOT_NULL | {"type": ["a"]}, "must be the name of an expectation"),
    "a column that is a list": (NOT_NULL | {"kwargs": {"column": ["x"]}}, "must name columns"),
    "columns that are a number": (
        {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": 3}},
        "must name columns",
    ),
    "arguments that are a list": (NOT_NULL | {"kwargs": ["x"]}, "kwargs: is required"),
    "a condition that is a text": (
        NOT_NULL | {"kwargs": {"column": "x", "row_condition": "x > 1", "condition_parser": "pandas"}},
        "row_condition: a text is code .* save the suite again, got 'x > 1'",
    ),
    "a condition that GX kept as a text": (
        NOT_NULL
        | {
            "kwargs": {
                "column": "x",
                "row_condition": {"type": "pass_through", "pass_through_filter": "@x"},
            }
        },
        "row_condition: a text is code .*, got '@x'",
    ),
    "a condition with a quote": (
        NOT_NULL | {"kwargs": {"column": "x", "row_condition": when("x", "==", "a' or @f(")}},
        "row_condition.parameter: must be a number or a text without quotes",
    ),
    "a condition on what is no column": (
        NOT_NULL | {"kwargs": {"column": "x", "row_condition": when("`x`", "==", 1)}},
        "row_condition.column.name: must be a column's name",
    ),
    "a condition with an operator of its own": (
        NOT_NULL | {"kwargs": {"column": "x", "row_condition": when("x", "LIKE", "a")}},
        "row_condition.operator: must be one of ==",
    ),
    "a condition of none": (
        NOT_NULL | {"kwargs": {"column": "x", "row_condition": {"type": "and", "conditions": []}}},
        "row_condition.conditions: must be a list",
    ),
    "no arguments at all": ({"type": NOT_NULL["type"]}, "kwargs: is required"),
    "an unknown key": (NOT_NULL | {"args": {}}, "args: unknown key"),
    "limits the wrong way round": (
        BETWEEN | {"kwargs": {"column": "x", "min_value": 9, "max_value": 0}},
        "min_value is above max_value",
    ),
    "a number GX would round": (
        BETWEEN | {"kwargs": {"column": "x", "max_value": 2**53 + 1}},
        "beyond 2\\*\\*53",
    ),
    "a suite parameter": (
        BETWEEN | {"kwargs": {"column": "x", "max_value": {"$PARAMETER": "m"}}},
        "suite parameters are not supported",
    ),
    "an empty set": (
        {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "x", "value_set": []}},
        "value_set: is empty",
    ),
    "an override": (
        NOT_NULL | {"kwargs": {"column": "x", "result_format": "BASIC"}},
        "result_format: is not supported",
    ),
}


@pytest.mark.parametrize(("entry", "expected"), UNSOUND.values(), ids=UNSOUND.keys())
def test_names_what_gx_would_drop_or_trip_over(entry: Any, expected: str) -> None:
    problems = GxValidator().problems(suite(NOT_NULL, entry), where="s.json")
    assert any(re.search(expected, str(problem)) for problem in problems), problems


def test_the_same_expectation_twice_is_a_mistake() -> None:
    assert "duplicates an earlier" in str(
        GxValidator().problems(suite(NOT_NULL, NOT_NULL), where="s.json")[0]
    )


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


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A suite as GX itself writes it into a project."""
    root = tmp_path_factory.mktemp("gx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import great_expectations as gx
        import great_expectations.expectations as e
        from great_expectations.expectations.row_conditions import Column

        made = gx.get_context(mode="file", project_root_dir=root).suites.add(gx.ExpectationSuite(name="s"))
        made.add_expectation(e.ExpectColumnValuesToNotBeNull(column="x", notes="why"))
        made.add_expectation(e.ExpectColumnValuesToBeUnique(column="y", severity="warning", description="d"))
        both = (Column("z") > 1) & (Column("y") != "b")
        made.add_expectation(e.ExpectColumnValuesToNotBeNull(column="y", severity="info", row_condition=both))
        for condition in (Column("y").is_not_in(["a"]), Column("y").is_null() | (Column("z") <= 1)):
            made.add_expectation(
                e.ExpectColumnValuesToBeBetween(column="x", max_value=5, row_condition=condition)
            )
        made.save()
    return next(root.rglob("s.json")).read_text(encoding="utf-8")


def test_a_suite_that_gx_saved_is_taken_with_its_severities_and_conditions(saved: str) -> None:
    frame = pd.DataFrame({"x": [None, 9.0, 9.0, 2.0], "y": ["a", "b", None, "a"], "z": [0.0, 2.0, 1.0, 3.0]})
    validator = GxValidator()
    assert validator.problems(saved, where="s.json") == ()
    assert validator.columns(saved, where="s.json") == {"x", "y", "z"}
    results = validator.check(saved, frame, where="s.json")
    assert [(r.column, r.arguments, r.level, r.success, r.evaluated, r.unexpected) for r in results] == [
        ("x", "", "block", False, 4, 1),
        ("y", "", "warn", False, 3, 2),
        # Only in the last row is z above 1, and y neither b nor null.
        ("y", "row_condition=(z > 1 and y != b)", "warn", True, 1, 0),
        # A null is neither in a set nor outside it.
        ("x", "max_value=5.0, row_condition=y not in ['a']", "block", False, 1, 1),
        ("x", "max_value=5.0, row_condition=(y is null or z <= 1)", "block", False, 1, 1),
    ]


def test_what_meta_says_goes_over_the_severity_that_gx_wrote() -> None:
    entry = NOT_NULL | {"severity": "critical", "meta": {"level": "warn"}}
    assert check(pd.DataFrame({"x": [None, 1.0]}), entry).results[0].level == "warn"
