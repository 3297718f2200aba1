"""Rows that an engine hands over: files by number, positions, types and repeated keys."""

from __future__ import annotations

import pickle
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from score_jobs import score_job, scoring_spec

from batchdeploy.adapters.parquet_splits import (
    EngineRows,
    KeyCounting,
    RowScoring,
    engine_rows,
    make_splits,
    nanosecond_columns,
    pinned_schema,
    read_hashes,
)
from batchdeploy.adapters.sources.folder import FolderSource
from batchdeploy.core.deployment import DataRef, PartitionSpec
from batchdeploy.core.partitions import partition_key
from batchdeploy.core.pins import DataPin
from batchdeploy.errors import DataError
from batchdeploy.kernel.keys import RepeatedKeys, repeated_hashes

DAY = "2024-01-01"
REF = DataRef(path="data", partition=PartitionSpec(column="date"), keys=("id",))
SPEC = scoring_spec(keep=("at",))
TIMES = pa.array([1_700_000_000_123_456_000, None, 1_700_000_000_000_000_001], pa.timestamp("ns", "UTC"))


@pytest.fixture
def pin(tmp_path: Path) -> DataPin:
    """Two files of three rows, in folders of two countries."""
    for number, country in enumerate(("CH", "US")):
        folder = tmp_path / "data" / f"date={DAY}" / f"country={country}"
        folder.mkdir(parents=True)
        ids = pa.array([10 * number + row for row in range(3)], pa.uint64())
        table = pa.table({"id": ids, "x": pa.array([0.5, None, 1.5], pa.float32()), "at": TIMES})
        pq.write_table(table, folder / "part-0.parquet")
    return FolderSource(tmp_path).pin(REF, DAY)


def rows_of(pin: DataPin, spec: Any = SPEC, columns: Any = None) -> EngineRows:
    splits = make_splits(pin)
    files = {100 + number: split for number, split in enumerate(splits)}
    rows = engine_rows(pin, files, pinned_schema(splits[0]), spec, columns)
    return pickle.loads(pickle.dumps(rows))


def handed(*rows: tuple[int, int, int], names: tuple[str, ...] = ("id", "x", "at")) -> pa.RecordBatch:
    """Rows as Spark has them: of (id, number of the file, position)."""
    ids, files, positions = zip(*rows, strict=True)
    columns = {
        "id": pa.array(ids, pa.decimal128(20, 0)),
        "x": pa.array([0.5] * len(rows), pa.float32()),
        "at": pa.array([1_700_000_000_123_456_000] * len(rows)),
    }
    chosen = {name: columns[name] for name in names}
    return pa.RecordBatch.from_pydict(chosen | {"_file": list(files), "_position": list(positions)})


def test_types_and_provenance_are_those_of_the_pinned_files(pin: DataPin) -> None:
    batch = handed((0, 100, 0), (1, 100, 1), (10, 101, 7), (2, 100, 2), (11, 101, -1))
    found = list(rows_of(pin).read([batch], SPEC))
    us, ch = f"date={DAY}/country=US/part-0.parquet", f"date={DAY}/country=CH/part-0.parquet"
    assert [(f.file, f.places.tolist()) for f in found] == [(ch, [0, 1]), (us, [7]), (ch, [2]), (us, [-1])]
    schema = found[0].batch.schema
    assert [str(schema.field(name).type) for name in ("id", "x", "at")] == [
        "uint64",
        "float",
        "timestamp[us, tz=UTC]",
    ]
    assert [value for f in found for value in f.batch.column("id").to_pylist()] == [0, 1, 10, 2, 11]
    moment = datetime.fromisoformat("2023-11-14T22:13:20.123456+00:00")
    assert found[0].batch.column("at").to_pylist() == [moment, moment]


def test_columns_of_folders_are_added_by_file(pin: DataPin) -> None:
    spec = scoring_spec(keep=("country",))
    batch = handed((0, 100, 0), (10, 101, 0), names=("id", "x"))
    rows = rows_of(pin, spec)
    assert rows.schema.names == ["id", "x"]
    assert [f.batch.column("country").to_pylist() for f in rows.read([batch], spec)] == [["CH"], ["US"]]


def test_batches_are_no_larger_than_the_spec_says(pin: DataPin) -> None:
    batch = handed(*((row, 100, row) for row in range(10)))
    spec = scoring_spec(keep=("at",), batch_rows=4)
    assert [found.batch.num_rows for found in rows_of(pin).read([batch], spec)] == [4, 4, 2]


def test_a_row_of_a_file_that_is_not_pinned_ends_the_run(pin: DataPin) -> None:
    with pytest.raises(DataError, match="was added or changed since the partition was pinned"):
        list(rows_of(pin).read([handed((0, 100, 0), (1, 999, 0))], SPEC))


def test_rows_of_other_partitions_may_be_of_files_that_are_not_pinned(pin: DataPin) -> None:
    key = partition_key(PartitionSpec(column="id"), "1")
    splits = [replace(split, partition=key, selects=True) for split in make_splits(pin)]
    files = dict(enumerate(splits, 100))
    rows = engine_rows(pin, files, pinned_schema(splits[0]), SPEC)
    batch = handed((0, 100, 0), (1, 100, 1), (2, 999, 0))
    assert [found.places.tolist() for found in rows.read([batch], SPEC)] == [[1]]
    with pytest.raises(DataError, match="was added or changed since the partition was pinned"):
        list(rows.read([handed((1, 999, 0))], SPEC))


def test_nanoseconds_are_told_from_other_times(pin: DataPin) -> None:
    assert nanosecond_columns(pinned_schema(make_splits(pin)[0])) == ("at",)


def test_keys_that_repeat_are_compared_and_flagged_in_every_task(pin: DataPin, tmp_path: Path) -> None:
    job, tasks = score_job(SPEC, staging=str(tmp_path)), ([handed((1, 100, 0), (2, 100, 1))], [])
    tasks = (*tasks, [handed((2, 101, 4)), handed((3, 101, 5))])
    (tmp_path / "keys").mkdir()

    def load(folder: str) -> Any:
        return lambda frame: frame["x"].to_numpy(dtype="float64") * 2

    scoring = RowScoring(rows=rows_of(pin), job=job, load=load)
    results = [result for n, task in enumerate(tasks) if (result := scoring(n, iter(task)))]
    assert [(result.index, result.rows_in, result.quarantine) for result in results] == [
        (0, 2, None),
        (2, 2, None),
    ]
    hashes = repeated_hashes(read_hashes(job.folders, [result.keys for result in results]))
    counting = KeyCounting(rows=rows_of(pin, SPEC, ("id",)), spec=SPEC, hashes=hashes)
    assert counting.rows.schema.names == ["id"]
    ids = ([handed((1, 100, 0), (2, 100, 1), names=("id",))], [handed((2, 101, 4), names=("id",))])
    assert [counting(n, iter(task)) for n, task in enumerate(ids)] == [{("2",): 1}, {("2",): 1}]
    repeated = RepeatedKeys(hashes, frozenset({("2",)}))
    again = RowScoring(rows=rows_of(pin), job=job, load=load, repeated=repeated)
    results = [result for n, task in enumerate(tasks) if (result := again(n, iter(task)))]
    files = [tmp_path / "quarantine" / result.quarantine.path for result in results]
    found = [row for file in files for row in pq.read_table(file, partitioning=None).to_pylist()]
    assert [(row["id"], row["_reason"], row["_source_row"]) for row in found] == [
        (2, "duplicate key id", 1),
        (2, "duplicate key id", 4),
    ]
