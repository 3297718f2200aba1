"""The rules that every source of hive-partitioned Parquet shares, over keys alone."""

from __future__ import annotations

import pytest

from batchdeploy.core.deployment import PartitionSpec
from batchdeploy.core.hive_layout import (
    Entry,
    data_files,
    folder_problems,
    lister,
    partition_files,
    partition_folders,
    path_columns,
    table_format_problems,
)
from batchdeploy.core.partition_names import escape, unescape
from batchdeploy.core.pins import PathColumn

DATE = PartitionSpec(column="date")


def never(entry: Entry) -> bool:
    return False


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
    files, problems = data_files([entry], never)
    assert files == ([entry] if problem is None else [])
    assert [found.path for found in problems] == ([] if problem is None else [entry.key])
    assert problem is None or problem in str(problems[0])


@pytest.mark.parametrize(
    "name",
    ["_SUCCESS", "_SUCCESS.crc", "_committed_1", "_started_1", "_metadata", ".a.parquet.crc", ".DS_Store"],
)
def test_markers_are_neither(name: str) -> None:
    assert data_files([Entry(f"date=1/{name}", failure="is not even looked at")], never) == ([], [])


def test_files_come_by_key_whatever_the_listing() -> None:
    files, _ = data_files([Entry("date=1/b.parquet"), Entry("date=1/a.parquet")], never)
    assert [file.key for file in files] == ["date=1/a.parquet", "date=1/b.parquet"]


@pytest.mark.parametrize("name", ["part-00000", "000000_0", "part-0.pq", "part-0.c000"])
@pytest.mark.parametrize("parquet", [True, False])
def test_a_name_that_does_not_tell_is_looked_into(name: str, parquet: bool) -> None:
    files, problems = data_files([Entry(f"date=1/{name}")], lambda _: parquet)
    assert (len(files), len(problems)) == ((1, 0) if parquet else (0, 1))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["date=b/1", "date=a/1", "dates=c", "notes/1"], {"a": ["date=a"], "b": ["date=b"]}),
        (
            ["country=US/date=a/1", "country=DE/date=a/1", "country=DE/date=b/1"],
            {"a": ["country=DE/date=a", "country=US/date=a"], "b": ["country=DE/date=b"]},
        ),
        (["date=a/country=US/1"], {"a": ["date=a"]}),
        (["x=1/y=2/date=a%2Fb%20c/1"], {"a/b c": ["x=1/y=2/date=a%2Fb%20c"]}),
        (["country=US/1"], {}),
        (["a.parquet"], {}),
    ],
)
def test_the_partition_column_is_found_at_any_level(keys: list[str], expected: dict[str, list[str]]) -> None:
    found = partition_folders(lister(map(Entry, keys)), DATE)
    assert {value: [e.key for e in entries] for value, entries in found.by_value.items()} == expected
    assert found.values == tuple(sorted(expected))


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        ("date=A%20B/1", "date=A%20B also exists"),
        ("date=a b/1", "date=a%20b also exists"),
        ("country=US/date=a%20b/1", "country=US: is not a date=VALUE folder"),
        ("archive/date=a/1", None),
        ("date=z/1", None),
    ],
)
def test_folders_that_would_hide_rows_are_problems(other: str, problem: str | None) -> None:
    found = partition_folders(lister([Entry("date=a%20b/1"), Entry(other)]), DATE)
    problems = [str(found) for found in folder_problems(found, "a b")]
    assert [problem in text for text in problems if problem] == [True] * (problem is not None)
    assert problem or not problems


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        (["date=a/c=US/1.parquet", "date=a/c=DE/2.parquet"], None),
        (["date=a/c=US/1.parquet", "date=a/2.parquet"], "does not lie in folders of the same columns"),
        (["date=a/c=US/1.parquet", "date=a/d=US/2.parquet"], "does not lie in folders of the same columns"),
        (["date=a/1.parquet", "date=a/nested/2.parquet"], "not a Parquet file"),
        (["date=a/1.parquet", "date=a/date=b/2.parquet"], "not a Parquet file"),
    ],
)
def test_all_files_lie_in_folders_of_the_same_columns(keys: list[str], problem: str | None) -> None:
    list_folder = lister(map(Entry, keys))
    folders = partition_folders(list_folder, DATE).by_value["a"]
    files, problems = partition_files(list_folder, folders, never)
    assert len(problems) == (problem is not None)
    assert problem is None or problem in str(problems[0])
    assert problem or [file.key for file in files] == sorted(keys)


def test_folders_give_columns() -> None:
    key = "c=Z%C3%BCrich/date=a/d=__HIVE_DEFAULT_PARTITION__/1.parquet"
    expected = (PathColumn(name="c", value="Zürich"), PathColumn(name="d", value=None))
    assert path_columns(key, DATE) == expected


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("2024-01-01 05:00", "2024-01-01 05%3A00"),
        ("a/b=c%d", "a%2Fb%3Dc%25d"),
        ("Zürich", "Zürich"),
        ("{x}[y]^'\"#*?\\", "%7Bx}%5By%5D%5E%27%22%23%2A%3F%5C"),
    ],
)
def test_values_are_escaped_as_spark_does(value: str, name: str) -> None:
    assert escape(value) == name
    assert unescape(name) == value


@pytest.mark.parametrize("text", ["100%", "%zz", "%FF"])
def test_what_escapes_nothing_stands_for_itself(text: str) -> None:
    assert unescape(text) == text


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
