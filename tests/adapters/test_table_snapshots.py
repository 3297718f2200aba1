"""Versions of Delta and Iceberg tables: their files and values, and what plain Parquet would show wrong."""

from __future__ import annotations

import datetime
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lakehouse_tables import actions, add_delete_file, add_deletion_vector, commit, iceberg_catalog
from object_stores import Bucket, s3_bucket, s3_client

from batchdeploy.adapters.parquet_splits import RowPartitions, inspect
from batchdeploy.adapters.sources.delta import DeltaSnapshot
from batchdeploy.adapters.sources.iceberg import IcebergSnapshot
from batchdeploy.adapters.sources.table_source import TableSource
from batchdeploy.core.deployment import DataRef, PartitionSpec
from batchdeploy.core.partition_names import NULL
from batchdeploy.core.pins import PathColumn
from batchdeploy.core.predicates import Predicate
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.errors import DataError, MissingPackageError, SourceError
from batchdeploy.storage.object_store import delta_options

DAYS = [datetime.date(2024, 1, 1)] * 3 + [datetime.date(2024, 1, 2)] * 2 + [None]
ROWS = pa.table(
    {
        "id": pa.array(range(6)),
        "date": pa.array(DAYS, pa.date32()),
        "city": ["a b", "a%b", "ü", "a b", "x/y", None],
    }
)
FIRST = (Predicate(column="date", op="eq", value="2024-01-01"),)


def delta(folder: Path, rows: pa.Table = ROWS, by: list[str] | None = None) -> None:
    from deltalake import write_deltalake

    write_deltalake(str(folder), rows, mode="append", partition_by=by)


def open_delta(folder: Path, version: int | None = None) -> DeltaSnapshot:
    return DeltaSnapshot(str(folder), version, StorageSpec())


def iceberg(folder: Path, rows: pa.Table = ROWS, by: tuple[str, ...] = ()) -> Any:
    table = iceberg_catalog(folder).create_table("crm.customers", schema=rows.schema)
    with table.update_spec() as spec:
        for column in by:
            spec.add_identity(column)
    table.append(rows)
    return table


def open_iceberg(table: Any, rev: str | int | None = None) -> IcebergSnapshot:
    path = table if isinstance(table, str) else table.metadata_location.removeprefix("file://")
    return IcebergSnapshot(path, rev, StorageSpec())


def partitioned(kind: str, folder: Path) -> Any:
    if kind == "delta":
        delta(folder, by=["date", "city"])
        return open_delta(folder)
    return open_iceberg(iceberg(folder, by=("date", "city")))


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
@pytest.mark.parametrize("name", ["lake", "a lake ü"])
def test_files_and_values_of_a_partitioned_table(kind: str, name: str, tmp_path: Path) -> None:
    snapshot = partitioned(kind, tmp_path / name)
    assert set(snapshot.partition_values("date")) == {*DAYS}
    assert set(snapshot.partition_values("city")) == {"a b", "a%b", "ü", "x/y", None}
    assert snapshot.partition_values("id") is None
    files = snapshot.files(FIRST)
    # Opened, because `read_table` takes a name with `=` for a partition.
    ids = {pq.read_table(pa.OSFile(file.location)).column("id").to_pylist()[0]: file for file in files}
    assert sorted(ids) == [0, 1, 2]
    day = PathColumn(name="date", value="2024-01-01", type="date32")
    assert ids[1].columns == (day, PathColumn(name="city", value="a%b", type="string"))
    assert len(snapshot.files(())) == 6
    assert [file.key for file in files] == sorted(file.key for file in files)


def test_a_delta_version_names_its_own_files(tmp_path: Path) -> None:
    from deltalake import DeltaTable

    delta(tmp_path / "lake")
    (old,) = open_delta(tmp_path / "lake").files(())
    DeltaTable(str(tmp_path / "lake")).delete("id = 1")
    newest = open_delta(tmp_path / "lake")
    (new,) = newest.files(())
    assert (newest.revision, open_delta(tmp_path / "lake", 0).revision) == ("1", "0")
    assert open_delta(tmp_path / "lake", 0).files(()) == [old]
    assert pq.read_table(pa.OSFile(new.location)).num_rows == 5


def test_an_iceberg_snapshot_names_its_own_files(tmp_path: Path) -> None:
    table = iceberg(tmp_path / "lake")
    first = table.current_snapshot().snapshot_id
    old = open_iceberg(table).files(())
    table.delete("id = 1")
    assert open_iceberg(table, first).files(()) == old
    newest = open_iceberg(table)
    (new,) = newest.files(())
    assert newest.revision == open_iceberg(table, "main").revision != str(first)
    assert pq.read_table(pa.OSFile(new.location)).num_rows == 5


def with_deletion_vector(folder: Path) -> Any:
    delta(folder)
    add_deletion_vector(folder, [1, 3])
    return open_delta(folder)


def with_deletion_vector_in_an_escaped_folder(folder: Path) -> Any:
    delta(folder, ROWS.slice(1, 1), by=["city"])
    add_deletion_vector(folder, [0])
    return open_delta(folder)


def with_column_mapping(folder: Path) -> Any:
    delta(folder)
    (metadata,) = actions(folder, "metaData")
    schema = json.loads(metadata["schemaString"])
    for number, field in enumerate(schema["fields"]):
        name = {"id": number + 1, "physicalName": f"col-{number}"}
        field["metadata"] = {f"delta.columnMapping.{key}": value for key, value in name.items()}
    mapped = {
        **metadata,
        "schemaString": json.dumps(schema),
        "configuration": {"delta.columnMapping.mode": "name"},
    }
    commit(folder, {"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}}, {"metaData": mapped})
    return open_delta(folder)


def with_a_position_delete(folder: Path) -> Any:
    table = iceberg(folder)
    (task,) = table.scan().plan_files()
    return open_iceberg(add_delete_file(table, pa.table({"file_path": [task.file.file_path], "pos": [1]})))


def with_an_equality_delete(folder: Path) -> Any:
    return open_iceberg(add_delete_file(iceberg(folder), pa.table({"id": [1]}), equality_ids=[1]))


def with_a_renamed_column(folder: Path) -> Any:
    table = iceberg(folder)
    with table.update_schema() as schema:
        schema.rename_column("city", "town")
    table.append(ROWS.rename_columns(["id", "date", "town"]))
    return open_iceberg(table)


def with_a_column_added_again(folder: Path) -> Any:
    from pyiceberg.types import StringType

    table = iceberg(folder)
    with table.update_schema() as schema:
        schema.delete_column("city")
    with table.update_schema() as schema:
        schema.add_column("city", StringType())
    table.append(ROWS)
    return open_iceberg(table)


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "deletion vector": (with_deletion_vector, "part-.*parquet: has a deletion vector"),
    "deletion vector, escaped": (with_deletion_vector_in_an_escaped_folder, "has a deletion vector"),
    "column mapping": (with_column_mapping, "name the columns differently"),
    "position delete": (with_a_position_delete, r"data/.*parquet: has delete files"),
    "equality delete": (with_an_equality_delete, "has equality deletes"),
    "renamed column": (with_a_renamed_column, "town: was renamed; older files hold it .*, got city"),
    "column added again": (with_a_column_added_again, "city: was dropped and added again"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_table_that_plain_parquet_shows_wrong_is_refused_by_name(
    make: Callable[[Path], Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        make(tmp_path / "lake").files(())


@pytest.mark.parametrize("change", [with_a_renamed_column, with_a_column_added_again])
def test_the_snapshots_before_a_column_was_renamed_are_read(
    tmp_path: Path, change: Callable[[Path], Any]
) -> None:
    with pytest.raises(DataError):
        change(tmp_path / "lake")
    newest = max((tmp_path / "lake" / "crm" / "customers" / "metadata").glob("*.metadata.json"))
    snapshots = json.loads(newest.read_text())["snapshots"]
    old = open_iceberg(str(newest), snapshots[0]["snapshot-id"])
    assert old.schema.names == ["id", "date", "city"]
    (file,) = old.files(())
    assert pq.read_table(file.location).equals(ROWS)
    with pytest.raises(DataError):
        open_iceberg(str(newest), snapshots[1]["snapshot-id"])
    # What came before the first snapshot that is left is not known.
    snapshots[0]["parent-snapshot-id"] = 1
    newest.write_text(json.dumps(json.loads(newest.read_text()) | {"snapshots": snapshots}))
    with pytest.raises(DataError):
        open_iceberg(str(newest), snapshots[0]["snapshot-id"])


def test_the_versions_before_a_deletion_vector_are_read(tmp_path: Path) -> None:
    with_deletion_vector(tmp_path / "lake")
    assert len(open_delta(tmp_path / "lake", 0).files(())) == 1


@pytest.mark.parametrize(
    ("make", "rev", "message"),
    [
        (delta, 7, "data.rev: the table has no such version.*got 7(?s:.*)newest version is 0"),
        (iceberg, 7, "no such snapshot, or it expired, got 7"),
        (iceberg, "weekly", "no such branch or tag, got weekly"),
        (None, None, "there is no Delta table"),
        (None, 3, "there is no Delta table"),
    ],
)
def test_a_version_that_is_not_there(make: Any, rev: Any, message: str, tmp_path: Path) -> None:
    made = make(tmp_path / "lake") if make else None
    with pytest.raises(DataError, match=message):
        open_delta(tmp_path / "lake", rev) if made is None else open_iceberg(made, rev)


def test_a_snapshot_that_expired(tmp_path: Path) -> None:
    table = iceberg(tmp_path / "lake")
    first = table.current_snapshot().snapshot_id
    table.append(ROWS)
    table.maintenance.expire_snapshots().by_id(first).commit()
    with pytest.raises(DataError, match=f"no such snapshot, or it expired, got {first}"):
        open_iceberg(table, first)


@pytest.mark.parametrize(
    ("path", "kind", "message"),
    [
        ("lake.crm.other", DataError, "catalog lake has no such table, got crm.other"),
        ("lake.nothing.there", DataError, "catalog lake has no such table, got nothing.there"),
        ("customers", DataError, "is neither CATALOG.NAMESPACE.TABLE nor the path of a table"),
        ("unknown.crm.customers", DataError, "no such Iceberg catalog is configured, got unknown"),
        ("down.crm.customers", SourceError, "the catalog: cannot be reached"),
        ("broken.crm.customers", SourceError, "the catalog: cannot be reached"),
        ("aws.crm.customers", SourceError, "the catalog: cannot be reached, or failed, got NoRegionError"),
        ("hive.crm.customers", MissingPackageError, r"pip install 'pyiceberg\[hive\]'"),
    ],
)
def test_a_catalog_that_does_not_have_it(
    path: str, kind: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyiceberg import catalog
    from pyiceberg.utils.config import Config

    iceberg(tmp_path / "lake")
    monkeypatch.setenv("PYICEBERG_CATALOG__LAKE__URI", f"sqlite:///{tmp_path / 'lake' / 'catalog.db'}")
    monkeypatch.setenv("PYICEBERG_CATALOG__DOWN__URI", "http://127.0.0.1:9")
    monkeypatch.setenv("PYICEBERG_CATALOG__AWS__TYPE", "glue")
    monkeypatch.setenv("PYICEBERG_CATALOG__HIVE__URI", "thrift://127.0.0.1:9")
    # Hive's client, as if it was not installed.
    monkeypatch.setitem(sys.modules, "pyiceberg.catalog.hive", None)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYICEBERG_CATALOG__BROKEN__URI", f"sqlite:///{tmp_path / 'no' / 'catalog.db'}")
    # It reads the environment when it is imported.
    monkeypatch.setattr(catalog, "_ENV_CONFIG", Config())
    assert IcebergSnapshot("lake.crm.customers", None, StorageSpec()).files(())
    with pytest.raises(kind, match=message):
        IcebergSnapshot(path, None, StorageSpec())


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_a_time_with_a_zone_belongs_to_the_day_of_the_partitions_zone(
    kind: str, zone: str, tmp_path: Path
) -> None:
    moments = [datetime.datetime(2024, 1, 2, hour, tzinfo=datetime.UTC) for hour in (3, 12)]
    rows = pa.table({"id": [1, 2], "at": pa.array(moments, pa.timestamp("us", "UTC"))})
    if kind == "delta":
        delta(tmp_path / "lake", rows, by=["at"])
        snapshot: Any = open_delta(tmp_path / "lake")
    else:
        snapshot = open_iceberg(iceberg(tmp_path / "lake", rows, by=("at",)))
    source = TableSource("delta", lambda *_: snapshot, StorageSpec(), RowPartitions)
    partition = PartitionSpec(column="at", timezone=zone)
    ref = DataRef(path="unused", partition=partition, keys=("id",))
    expected = {"UTC": {"2024-01-02": 2}, "America/New_York": {"2024-01-01": 1, "2024-01-02": 1}}[zone]
    assert {day: inspect(source.pin(ref, day)).rows for day in source.partitions(ref)} == expected


def test_plain_http_may_be_asked_for_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "allow_http" not in (delta_options("s3://lake/t", StorageSpec()) or {})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert delta_options("s3://lake/t", StorageSpec()) == {"allow_http": "true"}
    assert delta_options(str(Path("lake")), StorageSpec()) is None


def test_a_delta_log_that_cannot_be_read(tmp_path: Path) -> None:
    delta(tmp_path / "lake")
    next((tmp_path / "lake" / "_delta_log").glob("*.json")).write_text("{}")
    with pytest.raises(DataError, match="the Delta table cannot be read"):
        open_delta(tmp_path / "lake")


def test_a_delta_folder_with_a_percent_sign_is_refused(tmp_path: Path) -> None:
    delta(tmp_path / "lake")
    shutil.move(tmp_path / "lake", tmp_path / "a%20lake")
    with pytest.raises(DataError, match="cannot open a folder with %"):
        open_delta(tmp_path / "a%20lake")


@pytest.mark.slow
@pytest.mark.usefixtures("store_credentials")
@pytest.mark.parametrize("versions", [False, True])
@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_a_table_in_a_store_is_pinned_and_read_in_place(kind: str, versions: bool, s3_port: int) -> None:
    bucket = s3_bucket(s3_port, versions=versions)
    source, rows = table_in_a_store(kind, bucket), ROWS.num_rows
    ref = DataRef(path="unused", partition=PartitionSpec(column="date"), keys=("id",))
    assert source.partitions(ref) == ("2024-01-01", "2024-01-02", NULL)
    pin = source.pin(ref, "2024-01-01")
    assert all(file.location.startswith(bucket.uri) and not file.md5 for file in pin.files)
    assert all((file.version is not None) == versions for file in pin.files)
    assert inspect(pin).rows == 3
    assert source.changes(ref, "2024-01-01", pin) == ()
    key = pin.files[0].location.removeprefix(f"{bucket.uri}/")
    bucket.put(key, ROWS.slice(0, rows - 1))
    (problem,) = source.changes(ref, "2024-01-01", pin)
    assert (problem.path, problem.problem) == (pin.files[0].path, "changed since it was pinned")
    s3_client(s3_port).delete_object(Bucket=bucket.uri.removeprefix("s3://"), Key=key)
    with pytest.raises(DataError, match="there is no such object"):
        source.pin(ref, "2024-01-01")


@pytest.mark.slow
@pytest.mark.usefixtures("store_credentials")
@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_a_profile_opens_a_table(
    kind: str, s3_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3_bucket(s3_port)
    team = replace(bucket, storage=replace(bucket.storage, profile="team"))
    source = table_in_a_store(kind, team)
    (tmp_path / "credentials").write_text("[team]\naws_access_key_id = a\naws_secret_access_key = b\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    ref = DataRef(path="unused", partition=PartitionSpec(column="date"), keys=("id",))
    assert source.partitions(ref) == ("2024-01-01", "2024-01-02", NULL)


def table_in_a_store(kind: str, bucket: Bucket) -> TableSource:
    """A source of the rows by date in a bucket."""
    storage = bucket.storage
    if kind == "delta":
        from deltalake import write_deltalake

        options = {"endpoint": storage.endpoint or "", "allow_http": "true"}
        unsafe = {"aws_s3_allow_unsafe_rename": "true"}
        uri = f"{bucket.uri}/lake"
        write_deltalake(uri, ROWS, partition_by=["date"], storage_options={**options, **unsafe})
        return TableSource("delta", lambda *_: DeltaSnapshot(uri, None, storage), storage, RowPartitions)
    from pyiceberg.catalog import load_catalog

    settings = {"warehouse": f"{bucket.uri}/lake", "s3.endpoint": storage.endpoint}
    catalog = load_catalog("stored", type="in-memory", **settings)
    catalog.create_namespace("crm")
    table = catalog.create_table("crm.customers", schema=ROWS.schema)
    with table.update_spec() as spec:
        spec.add_identity("date")
    table.append(ROWS)
    uri = table.metadata_location
    return TableSource("iceberg", lambda *_: IcebergSnapshot(uri, None, storage), storage, RowPartitions)
