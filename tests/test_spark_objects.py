"""Objects on Spark: the workers read them, and a validator sees what Spark reads from local files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from object_stores import CREDENTIALS, s3_bucket
from store_proxy import store_proxy
from test_object_stores import DAYS, point_at, replace_object, scores_of, upload
from tests_support import SCHEMA, customers

from batchdeploy.adapters.engines.spark import SparkEngine
from batchdeploy.adapters.mlflow import probe
from batchdeploy.adapters.parquet_splits import inspect, make_splits, split_rows
from batchdeploy.adapters.sources.folder import FolderSource
from batchdeploy.adapters.sources.table_snapshot import path_column
from batchdeploy.assembly import LocalToolbox, open_toolbox, records_in
from batchdeploy.core.deployment import DataRef, PartitionSpec
from batchdeploy.core.records import CheckReport
from batchdeploy.errors import DataError
from batchdeploy.storage import object_storage
from batchdeploy.storage.object_inputs import TAIL_BYTES, PinnedObject
from batchdeploy.storage.object_storage import ObjectStorage
from batchdeploy.workflows.plan import plan as plan_partition
from batchdeploy.workflows.run import run as run_partition

pytestmark = [pytest.mark.slow, pytest.mark.jvm]

DAY = DAYS[0]
REF = DataRef(path="data", partition=PartitionSpec(column="date"), keys=("id",))


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkEngine]:
    """One Spark engine for all tests of this file, whose workers have the store's credentials."""
    # By settings: the JVM of this process may be older than the environment of a test.
    engine = SparkEngine("local[2]", {f"spark.executorEnv.{key}": text for key, text in CREDENTIALS.items()})
    yield engine
    engine.close()


def on_spark(tools: LocalToolbox, spark: SparkEngine) -> LocalToolbox:
    """The toolbox of the same deployment with Spark as its engine."""
    text = tools.file.read_text("utf-8").replace("kind: local", "kind: spark, master: 'local[2]'")
    tools.file.write_text(text, encoding="utf-8")
    box = open_toolbox(tools.file)
    box.spark = spark
    return box


def times(unit: str, zone: str | None = None) -> pa.Array:
    """Times before and after 1970, which are whole in the unit, and a null."""
    if unit == "ns":
        return pa.array([-1_500, 1_700_000_000_123_456_789, None], pa.timestamp("ns", zone))
    return pa.array([datetime(1901, 2, 3, 4, 5, 6), datetime(2024, 3, 1, 2, 3, 4), None]).cast(
        pa.timestamp(unit, zone)
    )


INTEGERS = {
    f"int{bits}": pa.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, None], f"int{bits}")
    for bits in (8, 16, 32, 64)
}
UNSIGNED = {f"uint{bits}": pa.array([0, 2**bits - 1, None], f"uint{bits}") for bits in (8, 16, 32, 64)}
COLUMNS = {
    **INTEGERS,
    **UNSIGNED,
    "bool": pa.array([True, False, None]),
    "float": pa.array([0.1, float("nan"), None], pa.float32()),
    "double": pa.array([0.1, float("nan"), None], pa.float64()),
    "small decimal": pa.array([Decimal("1.25"), Decimal("-1.00"), None], pa.decimal128(9, 2)),
    "large decimal": pa.array([Decimal("1" * 30), Decimal("-1.5"), None], pa.decimal128(38, 4)),
    "text": pa.array(["é", "", None]),
    "large text": pa.array(["é", "", None], pa.large_string()),
    "dictionary": pa.array(["a", "b", None]).dictionary_encode(),
    "binary": pa.array([b"\xff", b"", None]),
    "fixed": pa.array([b"ab", b"cd", None], pa.binary(2)),
    "date": pa.array([date(1901, 2, 3), date(2024, 3, 1), None]),
    "date64": pa.array([date(1901, 2, 3), date(2024, 3, 1), None], pa.date64()),
    **{f"time {unit}": times(unit) for unit in ("ms", "us", "ns")},
    **{f"time {unit} in a zone": times(unit, "Europe/Zurich") for unit in ("ms", "us", "ns")},
    "list": pa.array([[1.5, None], [], None], pa.list_(pa.float32())),
    "list of small ones": pa.array([[1, None], [], None], pa.list_(pa.uint8())),
    "list of three": pa.array([[1.0, 2.0, 3.0]] * 3, pa.list_(pa.float64(), 3)),
    "struct": pa.array([{"a": 1, "b": "x"}, {"a": None, "b": None}, None]),
    "cast": pa.array(["1.5", "unknown", None]),
}


@pytest.mark.parametrize("int96", [False, True])
def test_workers_give_the_types_and_values_of_sparks_own_reader(
    tmp_path: Path, spark: SparkEngine, int96: bool
) -> None:
    columns = {n: c for n, c in COLUMNS.items() if "time" in n and "ns" not in n} if int96 else COLUMNS
    file = tmp_path / "data" / f"date={DAY}" / "part-0.parquet"
    file.parent.mkdir(parents=True)
    options = {"use_deprecated_int96_timestamps": True} if int96 else {}
    pq.write_table(pa.table(columns), file, version="2.6", **options)
    pin, partition = FolderSource(tmp_path).pin(REF, DAY), ("date", DAY)
    nanoseconds = [name for name in columns if name.startswith("time ns")]
    casts: Any = {} if int96 else {"cast": "double"}
    own = spark.frame(pin, partition, nanoseconds=nanoseconds, casts=casts)
    splits = make_splits(pin)
    reader = split_rows(pin, splits[0], None, (), casts)
    with spark.split_frame(splits, reader, partition) as frame:
        kinds = [{f.name: f.dataType.jsonValue() for f in f.schema.fields} for f in (frame, own)]
        assert kinds[0] == kinds[1]
        assert frame.collect() == own.collect()


def test_partition_columns_of_a_table_have_its_types_on_either_way(
    tmp_path: Path, spark: SparkEngine
) -> None:
    file = tmp_path / "data" / f"date={DAY}" / "part-0.parquet"
    file.parent.mkdir(parents=True)
    pq.write_table(pa.table({"id": [1, 2]}), file)
    given = {
        "day": (date(2024, 3, 1), pa.date32()),
        "small": (7, pa.int8()),
        "long": (None, pa.int64()),
        "share": (0.5, pa.float64()),
        "kept": (True, pa.bool_()),
        "city": ("é", pa.string()),
        "at": (datetime(2024, 3, 1, 5), pa.timestamp("us")),
    }
    columns = tuple(path_column(name, *value) for name, value in given.items())
    pin = FolderSource(tmp_path).pin(REF, DAY)
    pin = replace(pin, files=tuple(replace(one, path_columns=columns) for one in pin.files))
    assert {c.name: c.type for c in inspect(pin).columns} == {
        "id": "int64",
        **{name: str(kind) for name, (_, kind) in given.items()},
    }
    own = spark.frame(pin, ("date", DAY), nanoseconds=[], casts={})
    splits = make_splits(pin)
    with spark.split_frame(splits, split_rows(pin, splits[0], None, (), {}), ("date", DAY)) as frame:
        kinds = [{f.name: f.dataType.jsonValue() for f in f.schema.fields} for f in (frame, own)]
        assert kinds[0] == kinds[1]
        assert frame.select(own.columns).collect() == own.collect()
    assert own.first().asDict() == {"id": 1, **{n: value for n, (value, _) in given.items()}, "date": DAY}


class DriverReads:
    """The ranges of objects that this process reads, in order: (start, end, size of the object)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: list[tuple[int, int, int]] = []
        get = PinnedObject._get

        def counted(source: PinnedObject, start: int, end: int) -> bytes:
            self.found.append((start, end, source.size))
            return get(source, start, end)

        monkeypatch.setattr(PinnedObject, "_get", counted)


def test_rows_pass_from_the_store_to_the_workers_past_the_driver(
    project: Path,
    deployment: Path,
    spark: SparkEngine,
    s3_port: int,
    store_credentials: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = project / "data" / "customers" / f"date={DAY}"
    for number in range(2):
        rows = customers(DAY, 60_000).iloc[number * 30_000 : (number + 1) * 30_000]
        table = pa.Table.from_pandas(rows, schema=SCHEMA, preserve_index=False)
        pq.write_table(table, folder / f"part-{number}.parquet", row_group_size=10_000)
    sizes = [file.stat().st_size for file in folder.iterdir()]
    assert min(sizes) > 4 * TAIL_BYTES
    bucket = s3_bucket(s3_port)
    upload(bucket, project / "data" / "customers")
    expected = run_partition(open_toolbox(deployment), DAY)
    reads = DriverReads(monkeypatch)
    # Other tests may have tried the model in this process.
    monkeypatch.setattr(probe, "PROBED", set())
    with store_proxy(s3_port) as proxy:
        remote = on_spark(point_at(deployment, bucket.through(proxy.port), "scores/remote"), spark)
        found = run_partition(remote, DAY)
        served = sum(asked.bytes for asked in proxy.asked if asked.method == "GET")
    results = [
        [(r.expectation, r.column, r.success, r.unexpected, r.evaluated) for r in report.results]
        for report in (records_in(run.folder).read("", CheckReport) for run in (expected, found))
    ]
    assert results[0] == results[1]
    pd.testing.assert_frame_equal(scores_of(open_toolbox(deployment)), scores_of(remote))
    # Ends of the files, which hold the footers, and their first bytes, which tell what they are.
    outside = [r for r in reads.found if r[0] < r[2] - TAIL_BYTES and r[1] > 64]
    assert outside == []
    mine = sum(end - start for start, end, _ in reads.found)
    # The workers read most columns twice: for the suite, and for the model.
    assert served - mine > sum(sizes)


class DriverWrites:
    """What this process writes to and reads from object stores, beside the input.

    Attributes:
        written: the keys.
        read: bytes by key.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.written: list[str] = []
        self.read: Counter[str] = Counter()
        output, input_, fill = (
            ObjectStorage.open_output,
            ObjectStorage.open_input,
            object_storage._Input.readinto,
        )

        def written(storage: ObjectStorage, key: str) -> Any:
            self.written.append(f"{storage.target}/{key}")
            return output(storage, key)

        def opened(storage: ObjectStorage, key: str) -> Any:
            stream: Any = input_(storage, key)
            stream.raw.key = f"{storage.target}/{key}"
            return stream

        def filled(stream: Any, buffer: Any) -> int:
            size = fill(stream, buffer)
            self.read[stream.key] += size
            return size

        monkeypatch.setattr(ObjectStorage, "open_output", written)
        monkeypatch.setattr(ObjectStorage, "open_input", opened)
        monkeypatch.setattr(object_storage._Input, "readinto", filled)


def test_scores_pass_from_the_workers_to_the_store_past_the_driver(
    project: Path,
    deployment: Path,
    spark: SparkEngine,
    s3_port: int,
    store_credentials: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = pa.Table.from_pandas(customers(DAY, 60_000), schema=SCHEMA, preserve_index=False)
    file = project / "data" / "customers" / f"date={DAY}" / "part-0.parquet"
    pq.write_table(rows, file, row_group_size=10_000)
    bucket = s3_bucket(s3_port)
    upload(bucket, project / "data" / "customers")
    tools = point_at(deployment, bucket, "scores/remote")
    text = tools.file.read_text("utf-8").replace(
        "path: scores/remote", f"path: {bucket.uri}/scores\n  control: {bucket.uri}/scores.batchdeploy"
    )
    tools.file.write_text(text + "publish: {mode: pointer}\n", encoding="utf-8")
    tools, driver = on_spark(tools, spark), DriverWrites(monkeypatch)
    outcome = run_partition(tools, DAY)
    assert outcome.manifest.rows_scored == 60_000
    assert sum(file.size for file in outcome.manifest.files) > 4 * TAIL_BYTES
    assert driver.written
    assert not [uri for uri in driver.written if "/scores/data/" in uri]
    # Footers alone, which are in the last 64 KiB.
    scores = tools.publishing.table.files(f"date={DAY}")
    assert {uri for uri in driver.read if "/scores/data/" in uri} == set(scores)
    assert max(driver.read[uri] for uri in scores) <= TAIL_BYTES + 8


def test_an_object_that_changes_before_the_validation_is_refused_by_the_workers(
    project: Path, deployment: Path, spark: SparkEngine, s3_port: int, store_credentials: None
) -> None:
    bucket = s3_bucket(s3_port)
    upload(bucket, project / "data" / "customers")
    remote = on_spark(point_at(deployment, bucket, "scores/remote"), spark)
    planned = plan_partition(remote, DAY)
    splits = remote.reader.make_splits(planned.data)
    reader = split_rows(planned.data, splits[0], {"age"}, (), {})
    replace_object(bucket, project)
    with (
        pytest.raises(DataError, match=rf"date={DAY}/part-0\.parquet: changed since it was pinned"),
        spark.split_frame(splits, reader, ("date", DAY)),
    ):
        pass
