"""The rules that every source of hive-partitioned Parquet shares, over keys alone."""

from __future__ import annotations

import pytest

from batchdeploy.core.deployment import PartitionSpec
from batchdeploy.core.hive_layout import (
    Entry,
    ambiguous_values,
    data_files,
    partition_values,
    table_format_problems,
)

DATE = PartitionSpec(column="date")


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (Entry("date=1/part-0.parquet", 9), None),
        (Entry("date=1/a b%20ü.parquet", 9), None),
        (Entry("date=1/part-0.csv", 9), "not a Parquet file"),
        (Entry("date=1/nested.parquet", is_file=False), "not a Parquet file"),
        (Entry("date=1/_part.parquet", 9), "Spark and others skip"),
        (Entry("date=1/.part.parquet", 9), "Spark and others skip"),
        (Entry("date=1/part-\udcff.parquet", 9), "not UTF-8"),
        (Entry("date=1/part-0.parquet", failure="too many links"), "cannot be read"),
    ],
)
def test_an_entry_is_data_or_a_problem(entry: Entry, problem: str | None) -> None:
    files, problems = data_files([entry])
    assert files == ([entry] if problem is None else [])
    assert [found.path for found in problems] == ([] if problem is None else [entry.key])
    assert problem is None or problem in str(problems[0])


@pytest.mark.parametrize(
    "name",
    ["_SUCCESS", "_SUCCESS.crc", "_committed_1", "_started_1", "_metadata", ".a.parquet.crc", ".DS_Store"],
)
def test_markers_are_neither(name: str) -> None:
    assert data_files([Entry(f"date=1/{name}", failure="is not even looked at")]) == ([], [])


def test_files_come_by_key_whatever_the_listing() -> None:
    files, _ = data_files([Entry("date=1/b.parquet"), Entry("date=1/a.parquet")])
    assert [file.key for file in files] == ["date=1/a.parquet", "date=1/b.parquet"]


def test_values_are_those_of_the_column() -> None:
    assert partition_values(["date=b", "dates=c", "date", "date=a", "notes"], DATE) == ("a", "b")


@pytest.mark.parametrize(("value", "other"), [("1", "001"), ("a", "A"), ("a b", "a%20b"), ("a", "a ")])
def test_values_that_others_read_as_one(value: str, other: str) -> None:
    (problem,) = ambiguous_values([value, other, "z"], value, DATE)
    assert (problem.path, f"date={other} lies beside it" in problem.problem) == (f"date={value}", True)
    assert list(ambiguous_values([value, "z"], value, DATE)) == []


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("_delta_log", "Delta"),
        ("_delta_log/0.json", "Delta"),
        ("metadata/1.metadata.json", "Iceberg"),
        (".hoodie", "Hudi"),
        ("metadata/notes.json", None),
        ("date=1", None),
    ],
)
def test_other_formats_are_named(key: str, kind: str | None) -> None:
    found = [problem.problem for problem in table_format_problems(["date=1/a.parquet", key])]
    assert [f"a {kind} table" in text for text in found] == ([True] if kind else [])
