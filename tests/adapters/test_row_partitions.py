"""Partitions told by a column: row groups are pruned by their statistics, and read no further than needed."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchdeploy.adapters.parquet_splits import RowPartitions, row_partitions
from batchdeploy.adapters.sources.folder import FolderSource
from batchdeploy.core.deployment import DataRef, PartitionSpec
from batchdeploy.core.pins import FilePin, identity_of
from batchdeploy.errors import PartitionError

DATE = PartitionSpec(column="day")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The row groups whose column was read."""
    groups: list[int] = []
    original = row_partitions._read_counts

    def count(file: FilePin, group: int, *more: Any) -> Any:
        groups.append(group)
        return original(file, group, *more)

    monkeypatch.setattr(row_partitions, "_read_counts", count)
    return groups


def write(tmp_path: Path, values: pa.Array, *, group: int = 2, **options: Any) -> FilePin:
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"day": values, "x": range(len(values))}), file, row_group_size=group, **options)
    found = file.stat()
    return FilePin(
        path=file.name, md5="", size=found.st_size, location=str(file), identity=identity_of(found)
    )


DAYS = ["2024-01-01"] * 2 + ["2024-01-01", "2024-01-03"] + ["2024-01-03"] * 2 + ["2024-01-04"] * 2
KINDS = {
    "text": pa.array(DAYS),
    "dictionary": pa.array(DAYS).dictionary_encode(),
    "date": pa.array(DAYS).cast(pa.timestamp("s")).cast(pa.date32()),
    "timestamp": pa.array(DAYS).cast(pa.timestamp("us")),
}


@pytest.mark.parametrize("values", KINDS.values(), ids=KINDS.keys())
def test_statistics_say_which_row_groups_to_read(tmp_path: Path, read: list[int], values: pa.Array) -> None:
    file, rows = write(tmp_path, values), RowPartitions()
    assert rows.select(file, DATE, "2024-01-04") == ((3,), 2)
    assert rows.select(file, DATE, "2024-01-09") == ((), 0)
    assert read == []
    assert rows.select(file, DATE, "2024-01-01") == ((0, 1), 3)
    assert rows.select(file, DATE, "2024-01-02") == ((), 0)
    assert rows.values(file, DATE) == {"2024-01-01", "2024-01-03", "2024-01-04"}
    assert read == [1]


def test_without_statistics_the_column_is_read_once(tmp_path: Path, read: list[int]) -> None:
    file, rows = write(tmp_path, KINDS["text"], write_statistics=False), RowPartitions()
    assert rows.select(file, DATE, "2024-01-03") == ((1, 2), 3)
    assert rows.values(file, DATE) == {"2024-01-01", "2024-01-03", "2024-01-04"}
    assert read == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("values", "value", "expected"),
    [
        (pa.array([5, 10, 7, 12]), "7", ((1,), 1)),
        (pa.array([5, 10, 7, 12]), "07", ((), 0)),
        (pa.array(["5", "10", "7", "12"]), "5", ((0,), 1)),
        (pa.array([True, None, False, False]), "true", ((0,), 1)),
        (pa.array(["b", None, None, "a"]), "a", ((1,), 1)),
        (pa.array([0, 1, 2, 3], pa.timestamp("us", "UTC")), "1970-01-01", ((0, 1), 4)),
    ],
    ids=["whole numbers", "not as written", "text of numbers", "booleans", "nulls", "with a time zone"],
)
def test_values_are_told_by_type(
    tmp_path: Path, values: pa.Array, value: str, expected: tuple[tuple[int, ...], int]
) -> None:
    assert RowPartitions().select(write(tmp_path, values), DATE, value) == expected


def test_a_time_belongs_to_the_period_in_the_partitions_zone(tmp_path: Path) -> None:
    late = pa.array(["2024-01-01 23:30:00", "2024-01-02 00:30:00"]).cast(pa.timestamp("us"))
    file = write(tmp_path, late.cast(pa.timestamp("us", "UTC")))
    assert RowPartitions().values(file, DATE) == {"2024-01-01", "2024-01-02"}
    zurich = PartitionSpec(column="day", timezone="Europe/Zurich")
    assert RowPartitions().values(file, zurich) == {"2024-01-02"}
    assert RowPartitions().values(file, PartitionSpec(column="day", grain="hourly")) == {
        "2024-01-01T23", "2024-01-02T00",
    }  # fmt: skip


@pytest.mark.parametrize("key_format", ["%G-W%V", "%Y-%m", "%Y%m%d", "%d.%m.%Y"])
def test_key_formats_write_dates_as_python_does(tmp_path: Path, key_format: str) -> None:
    days = [date(2023, 12, 20) + timedelta(days=number) for number in range(80)]
    file, spec = write(tmp_path, pa.array(days), group=7), PartitionSpec(column="day", key_format=key_format)
    expected = Counter(day.strftime(key_format) for day in days)
    rows = RowPartitions()
    assert {value: rows.select(file, spec, value)[1] for value in expected} == expected
    assert rows.values(file, spec) == set(expected)


def test_nulls_are_a_partition_that_no_run_scores(tmp_path: Path) -> None:
    file = write(tmp_path, pa.array(["b", None]))
    assert RowPartitions().values(file, DATE) == {"b", "__HIVE_DEFAULT_PARTITION__"}


def test_a_file_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    rows = RowPartitions()
    assert rows.values(write(tmp_path, pa.array(["a", "b"])), DATE) == {"a", "b"}
    assert rows.values(write(tmp_path, pa.array(["c", "d", "e"])), DATE) == {"c", "d", "e"}


def test_the_files_of_other_partitions_are_not_read(tmp_path: Path, read: list[int]) -> None:
    """A partition is looked for before it is asked which there are."""
    data = tmp_path / "data"
    data.mkdir()
    for name, days in {"x": DAYS[2:4], "y": ["2024-02-01", "2024-02-05"], "z": DAYS[1:6]}.items():
        Path(write(data, pa.array(days), group=10).location).rename(data / f"{name}.parquet")
    source = FolderSource(tmp_path, rows=RowPartitions)
    ref = DataRef(path="data", partition=DATE, keys=("x",))
    pin = source.pin(ref, "2024-01-03")
    assert [file.path for file in pin.files] == ["x.parquet", "z.parquet"]
    assert len(read) == 2
    with pytest.raises(PartitionError, match=r"no such partition.*got 2024-02-02"):
        source.pin(ref, "2024-02-02")
    # Also to say which there are: each file's column is read once.
    assert len(read) == 3
