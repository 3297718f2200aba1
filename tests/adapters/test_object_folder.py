"""Folders in an object store: the rules of a local folder, few requests, and one message for each failure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from dvc_projects import error_xml
from object_stores import Bucket, new_bucket, s3_bucket, s3_client
from store_proxy import Fault, StoreProxy, store_proxy

from batchdeploy.adapters.parquet_splits import inspect, make_splits, read_frame
from batchdeploy.adapters.sources.object_folder import ObjectFolderSource
from batchdeploy.core.deployment import DataRef, PartitionSpec
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.errors import BatchdeployError, DataError, PartitionError, SourceError
from batchdeploy.storage import object_listing, object_store
from batchdeploy.storage.object_listing import ObjectFolder

pytestmark = pytest.mark.slow

DAY, OTHER = "2024-01-01", "2024-01-02"
ROWS = pa.table({"id": [1, 2, 3], "x": [0.5, 1.5, 2.5]})
SECRETS = ("very-secret", "AKIDEXAMPLE", "FwoGZX")


@pytest.fixture(params=["S3", pytest.param("Azure", marks=pytest.mark.slow)])
def bucket(request: pytest.FixtureRequest, store_credentials: None) -> Bucket:
    return new_bucket(request, request.param)


def ref_of(bucket: Bucket, path: str = "flights", **given: str) -> DataRef:
    return DataRef(path=f"{bucket.uri}/{path}", partition=PartitionSpec(column="date"), keys=("id",))


def source_of(bucket: Bucket) -> ObjectFolderSource:
    return ObjectFolderSource(bucket.storage)


def pinned(bucket: Bucket, day: str = DAY) -> list[str]:
    return [file.path for file in source_of(bucket).pin(ref_of(bucket), day).files]


def test_markers_are_skipped_and_parquet_without_an_ending_is_read(bucket: Bucket) -> None:
    folder = f"flights/date={DAY}"
    for name in ("a.parquet", "part-00000", "b c%20é.parquet"):
        bucket.put(f"{folder}/{name}", ROWS)
    for name in ("_SUCCESS", "_committed_1", ".a.parquet.crc", "_metadata"):
        bucket.put(f"{folder}/{name}", b"x")
    assert pinned(bucket) == [f"date={DAY}/{n}" for n in ("a.parquet", "b c%20é.parquet", "part-00000")]


def test_objects_that_stand_for_folders_are_none(s3_port: int, store_credentials: None) -> None:
    bucket, client = s3_bucket(s3_port), s3_client(s3_port)
    name = bucket.uri.removeprefix("s3://")
    for key in ("flights/", f"flights/date={DAY}/", f"flights/date={DAY}_$folder$"):
        client.put_object(Bucket=name, Key=key, Body=b"")
    assert source_of(bucket).partition_problems(ref_of(bucket)) == ()
    bucket.put(f"flights/date={DAY}/a.parquet", ROWS)
    assert pinned(bucket) == [f"date={DAY}/a.parquet"]
    client.put_object(Bucket=name, Key=f"flights/date={DAY}//b.parquet", Body=b"")
    with pytest.raises(DataError, match="a key that cannot be a path"):
        pinned(bucket)


BAD = {
    "another format": (f"date={DAY}/b.csv", b"a,b", "b.csv: not a Parquet file"),
    "a hidden name": (f"date={DAY}/_b.parquet", b"PAR1PAR1", "_b.parquet: has a name that Spark"),
    "a folder": (f"date={DAY}/more/b.parquet", b"PAR1PAR1", "more: not a Parquet file"),
    "no Parquet by its bytes": (f"date={DAY}/b", b"something", "b: not a Parquet file"),
    "no Parquet by its size": (f"date={DAY}/b", b"PAR", "b: not a Parquet file"),
    "an empty object": (f"date={DAY}/b", b"", "b: not a Parquet file"),
    "Delta": ("_delta_log/0.json", b"{}", "this is a Delta table"),
    "Iceberg": ("metadata/v1.metadata.json", b"{}", "this is a Iceberg table"),
    "another spelling": ("date=2024-01-01 /b.parquet", b"x", "other readers treat both as one value"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_a_local_folder_refuses_is_refused(s3_port: int, store_credentials: None, case: str) -> None:
    key, content, expected = BAD[case]
    bucket = s3_bucket(s3_port)
    bucket.put(f"flights/date={DAY}/a.parquet", ROWS)
    bucket.put(f"flights/{key}", content)
    with pytest.raises(DataError, match=expected):
        pinned(bucket)


def test_several_columns_in_the_path_are_read(bucket: Bucket) -> None:
    for country in ("CH", "US"):
        bucket.put(f"flights/country={country}/date={DAY}/a.parquet", ROWS)
    pin = source_of(bucket).pin(ref_of(bucket), DAY)
    assert [file.path_columns[0].value for file in pin.files] == ["CH", "US"]
    assert [split.path_columns[0].value for split in make_splits(pin)] == ["CH", "US"]


def test_an_empty_partition_a_missing_one_and_a_missing_folder_are_told_apart(bucket: Bucket) -> None:
    bucket.put(f"flights/date={DAY}/a.parquet", ROWS)
    bucket.put(f"flights/date={OTHER}/_SUCCESS", b"x")
    source, ref = source_of(bucket), ref_of(bucket)
    with pytest.raises(PartitionError, match="holds no Parquet file"):
        source.pin(ref, OTHER)
    with pytest.raises(PartitionError, match=r"no such partition.*2024-02-01[^$]*there are 2 from"):
        source.pin(ref, "2024-02-01")
    with pytest.raises(DataError, match="there is no folder below this URI"):
        source.pin(ref_of(bucket, "elsewhere"), DAY)
    with pytest.raises(DataError, match=r"data\.rev: objects have no revisions"):
        source.pin(replace(ref, rev="main"), DAY)
    (problem,) = source.partition_problems(ref)
    assert (problem.path, problem.problem) == (f"date={OTHER}", "holds no Parquet file")


@pytest.mark.parametrize("versions", [False, True])
def test_what_changed_since_a_pin_is_told_by_name(
    s3_port: int, store_credentials: None, versions: bool
) -> None:
    import obstore

    bucket = s3_bucket(s3_port, versions=versions)
    folder = f"flights/date={DAY}"
    for name in ("a", "b", "c"):
        bucket.put(f"{folder}/{name}.parquet", ROWS)
    source, ref = source_of(bucket), ref_of(bucket)
    pin = source.pin(ref, DAY)
    assert all((file.version is not None) == versions for file in pin.files)
    assert source.changes(ref, DAY, pin) == ()
    bucket.put(f"{folder}/a.parquet", ROWS.slice(1))
    obstore.delete(bucket.store, f"{folder}/b.parquet")
    bucket.put(f"{folder}/d.parquet", ROWS)
    assert [(p.path, p.problem) for p in source.changes(ref, DAY, pin)] == [
        (f"date={DAY}/a.parquet", "changed since it was pinned"),
        (f"date={DAY}/b.parquet", "was deleted since it was pinned"),
        (f"date={DAY}/d.parquet", "was added since the partition was pinned"),
    ]
    for name in ("a", "c", "d"):
        obstore.delete(bucket.store, f"{folder}/{name}.parquet")
    bucket.put(f"flights/date={OTHER}/a.parquet", ROWS)
    assert len(source.changes(ref, DAY, pin)) == 3


@pytest.fixture
def proxy(s3_port: int, store_credentials: None) -> Iterator[StoreProxy]:
    with store_proxy(s3_port) as running:
        yield running


@pytest.mark.parametrize("versions", [False, True])
def test_ten_thousand_objects_are_pinned_by_at_most_twice_their_listing(
    s3_port: int, proxy: StoreProxy, versions: bool
) -> None:
    client, bucket = s3_client(s3_port), s3_bucket(s3_port, versions=versions)
    bucket.put(f"flights/date={DAY}/part-0.parquet", ROWS)
    name = bucket.uri.removeprefix("s3://")
    # NOTE: moto's own objects; ten thousand requests would take a minute.
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    for number in range(1, 10_000):
        backend.put_object(name, f"flights/date={DAY}/part-{number}.parquet", b"PAR1PAR1")
    assert client.list_objects_v2(Bucket=name)["KeyCount"] == 1_000
    pin = source_of(bucket.through(proxy.port)).pin(ref_of(bucket), DAY)
    assert len(pin.files) == 10_000
    # Ten pages of the partition, one of the folders, and a look whether the bucket keeps versions.
    assert [asked.method for asked in proxy.asked[:12]] == ["GET"] * 11 + ["HEAD"]
    if not versions:
        assert len(proxy.asked) == 12
        return
    assert len(proxy.asked) <= 2 * 11
    assert all("versions" in asked.path for asked in proxy.asked[12:])
    some = {file.path: file.version for file in pin.files[::1_111]}
    for path, version in some.items():
        assert client.head_object(Bucket=name, Key=f"flights/{path}")["VersionId"] == version


def many(bucket: Bucket, objects: int = 70) -> None:
    for number in range(objects):
        bucket.put(f"flights/date={DAY}/ü %{number:02}.parquet", b"PAR1PAR1")


def versions_of(bucket: Bucket) -> dict[str, str | None]:
    return {file.path: file.version for file in source_of(bucket).pin(ref_of(bucket), DAY).files}


def test_versions_are_the_same_whether_they_are_listed_or_asked_for(
    s3_port: int, proxy: StoreProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3_bucket(s3_port, versions=True)
    many(bucket)
    many(bucket, 60)
    client, name = s3_client(s3_port), bucket.uri.removeprefix("s3://")
    client.delete_object(Bucket=name, Key=f"flights/date={DAY}/ü %01.parquet")
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"})
    bucket.put(f"flights/date={DAY}/ü %68.parquet", b"PAR1PAR1")
    listed = versions_of(bucket.through(proxy.port))
    assert len(listed) == 69
    assert len(proxy.asked) < 10
    monkeypatch.setitem(sys.modules, "botocore.exceptions", None)
    assert versions_of(bucket.through(proxy.port)) == listed
    assert sum(asked.method == "HEAD" for asked in proxy.asked) > 69


@pytest.mark.parametrize("versions", [False, True])
def test_objects_of_a_table_are_looked_up_by_a_listing(
    s3_port: int, proxy: StoreProxy, versions: bool
) -> None:
    bucket = s3_bucket(s3_port, versions=versions)
    many(bucket, 80)
    folder = ObjectFolder(bucket.uri, bucket.storage)
    keys = [found.key for found in folder.descend()][::-1]
    slowly = [pin for key in keys for pin in folder.look_up([key])]
    through = ObjectFolder(bucket.uri, bucket.through(proxy.port).storage)
    assert through.look_up(keys) == slowly
    assert len(proxy.asked) == (3 if versions else 2)
    with pytest.raises(DataError, match=r"none\.parquet"):
        through.look_up([*keys, f"flights/date={DAY}/none.parquet"])
    # A fault of the listing is none of the objects'.
    proxy.fault, proxy.matching, proxy.body = 403, "list-type=2", error_xml("AccessDenied", "x").decode()
    assert through.look_up(keys) == slowly
    assert proxy.fired > 0


@pytest.mark.parametrize(
    ("fault", "body"), [(403, error_xml("AccessDenied", "x")), (500, b"x"), ("cut", b""), ("lost", b"")]
)
def test_objects_are_asked_about_where_versions_cannot_be_listed(
    s3_port: int, proxy: StoreProxy, fault: Fault, body: bytes
) -> None:
    bucket = s3_bucket(s3_port, versions=True)
    many(bucket)
    listed = versions_of(bucket)
    proxy.fault, proxy.matching, proxy.body = fault, "versions", body.decode()
    assert versions_of(bucket.through(proxy.port)) == listed
    assert proxy.fired > 0


def test_an_object_that_is_replaced_while_it_is_listed_is_asked_about(
    s3_port: int, store_credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its listed size and ETag are not those of the version."""
    bucket, newest = s3_bucket(s3_port, versions=True), object_listing.newest_versions
    many(bucket)

    def meanwhile(*arguments: Any, **words: Any) -> Any:
        bucket.put(f"flights/date={DAY}/ü %07.parquet", ROWS)
        return newest(*arguments, **words)

    monkeypatch.setattr(object_listing, "newest_versions", meanwhile)
    pin = source_of(bucket).pin(ref_of(bucket), DAY)
    (file,) = (file for file in pin.files if "07" in file.path)
    name, key = bucket.uri.removeprefix("s3://"), f"flights/{file.path}"
    head = s3_client(s3_port).head_object(Bucket=name, Key=key)
    assert (file.version, file.size) == (head["VersionId"], head["ContentLength"])


def test_partitions_are_listed_by_folder_not_by_object(s3_port: int, proxy: StoreProxy) -> None:
    bucket = s3_bucket(s3_port)
    for day in range(1, 20):
        for part in range(3):
            bucket.put(f"flights/date=2024-01-{day:02}/part-{part}.parquet", b"x")
    assert len(source_of(bucket.through(proxy.port)).partitions(ref_of(bucket))) == 19
    assert len(proxy.asked) == 1


ANSWERS: dict[str, tuple[Fault, str, type[BatchdeployError], str]] = {
    "no access": (403, "AccessDenied", SourceError, "the store refuses access"),
    "a key that it does not know": (403, "InvalidAccessKeyId", SourceError, "the store refuses access"),
    "expired credentials": (400, "ExpiredToken", SourceError, "the credentials have expired"),
    "not authenticated": (401, "Unauthorized", SourceError, "does not accept the credentials"),
    "busy": (503, "SlowDown", SourceError, "the store failed, also on retries"),
    "broken": (500, "InternalError", SourceError, "the store failed, also on retries"),
    "no bucket": (404, "NoSuchBucket", DataError, "there is no such bucket"),
    "lost": ("lost", "", SourceError, "cannot be reached, or broke off"),
    "cut": ("cut", "", SourceError, "cannot be reached, or broke off"),
    "slow": ("slow", "", SourceError, "did not answer in time"),
}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits and tries as in production, only shorter."""
    monkeypatch.setattr(object_store, "TIMES", {"read_timeout": timedelta(seconds=1)})
    backoff = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=5), "base": 2}
    tries = {"max_retries": 2, "retry_timeout": timedelta(seconds=2), "backoff": backoff}
    monkeypatch.setattr(object_store, "TRIES", tries)
    object_store._open.cache_clear()


@pytest.mark.parametrize("case", ANSWERS)
@pytest.mark.parametrize("question", ["list", "footers", "rows"])
def test_what_a_store_fails_with_is_one_clear_message(
    s3_port: int, proxy: StoreProxy, impatient: None, case: str, question: str
) -> None:
    fault, code, kind, expected = ANSWERS[case]
    bucket = s3_bucket(s3_port).through(proxy.port)
    bucket.put(f"flights/date={DAY}/a.parquet", ROWS)
    source, ref = source_of(bucket), ref_of(bucket)
    pin = source.pin(ref, DAY)
    questions: dict[str, Callable[[], object]] = {
        "list": lambda: source.pin(ref, DAY),
        "footers": lambda: inspect(pin),
        "rows": lambda: read_frame(pin, ("date", DAY)),
    }
    proxy.fault = fault
    secrets = f"<AWSAccessKeyId>{SECRETS[1]}</AWSAccessKeyId><Token>{SECRETS[2]}</Token>"
    proxy.body = f"<Error><Code>{code}</Code><Message>{SECRETS[0]}</Message>{secrets}</Error>"
    with pytest.raises(kind, match=expected) as raised:
        questions[question]()
    assert proxy.fired
    assert not any(secret in str(raised.value) for secret in SECRETS)
    assert raised.value.exit_code == (2 if kind is DataError else 3)
    assert len(raised.value.problems) == 1


@pytest.mark.parametrize("fault", ["lost", "cut", 503])
def test_a_store_that_recovers_is_not_noticed(
    s3_port: int, proxy: StoreProxy, impatient: None, fault: Fault
) -> None:
    bucket = s3_bucket(s3_port).through(proxy.port)
    bucket.put(f"flights/date={DAY}/a.parquet", ROWS)
    proxy.fault, proxy.times = fault, 1
    pin = source_of(bucket).pin(ref_of(bucket), DAY)
    proxy.fired = 0
    assert read_frame(pin, ("date", DAY))["x"].tolist() == [0.5, 1.5, 2.5]
    assert proxy.fired == 1


def test_a_store_that_refuses_the_condition_says_that_the_object_changed(
    s3_port: int, proxy: StoreProxy
) -> None:
    bucket = s3_bucket(s3_port).through(proxy.port)
    bucket.put(f"flights/date={DAY}/a.parquet", ROWS)
    pin = source_of(bucket).pin(ref_of(bucket), DAY)
    proxy.fault = 412
    with pytest.raises(DataError, match="changed since it was pinned"):
        inspect(pin)


def test_a_bucket_that_does_not_exist_is_a_wrong_request(bucket: Bucket) -> None:
    ref = replace(ref_of(bucket), path=f"{bucket.uri}x/flights")
    with pytest.raises(DataError, match="there is no such bucket"):
        source_of(bucket).pin(ref, DAY)


def test_a_profile_gives_the_credentials(
    s3_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "credentials").write_text("[team]\naws_access_key_id = a\naws_secret_access_key = b\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    bucket = s3_bucket(s3_port)
    bucket = replace(bucket, storage=replace(bucket.storage, profile="team"))
    with_profile = replace(bucket, store=object_store.open_store(bucket.uri, bucket.storage))
    with_profile.put(f"flights/date={DAY}/a.parquet", ROWS)
    assert pinned(with_profile) == [f"date={DAY}/a.parquet"]
    nobody = replace(bucket, storage=replace(bucket.storage, profile="nobody"))
    with pytest.raises(DataError, match=r"storage\.profile: gives no credentials.*nobody"):
        pinned(nobody)


def test_an_azure_container_needs_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(DataError, match=r"Account must be specified[^$]*AZURE_STORAGE_ACCOUNT_NAME"):
        object_store.open_store("az://lake", StorageSpec())


def test_without_credentials_one_is_told_where_they_come_from(
    s3_port: int, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    # NOTE: where machines get their credentials in the cloud; nobody listens there.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://169.254.169.254:9")
    storage = StorageSpec(endpoint=f"http://127.0.0.1:{s3_port}", region="us-east-1")
    ref = DataRef(path="s3://lake/x", partition=PartitionSpec(column="date"), keys=("id",))
    with pytest.raises(SourceError, match=r"there are no credentials[^$]*by the environment"):
        ObjectFolderSource(storage).pin(ref, DAY)
