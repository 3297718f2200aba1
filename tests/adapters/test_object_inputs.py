"""Pinned objects are read in place, by ranges, and never in another state than the pinned one."""

from __future__ import annotations

import datetime as dt
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from object_stores import Bucket, new_bucket, s3_bucket, s3_client
from score_jobs import scoring_spec

from batchdeploy.adapters.parquet_splits import inspect, make_splits, read_frame
from batchdeploy.adapters.parquet_splits.row_reader import read_batches
from batchdeploy.core.pins import DataPin
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.errors import DataError, SourceError
from batchdeploy.storage import object_inputs
from batchdeploy.storage.object_store import split_uri

SPEC, KEY = scoring_spec(keep=("at",)), "flights/date=2024-01-01/part 0%20é.parquet"
PARTITION = ("date", "2024-01-01")


def rows(seed: int, count: int = 50_000) -> pa.Table:
    random = np.random.default_rng(seed)
    at = [dt.datetime(2024, 1, 1) + dt.timedelta(seconds=n) for n in range(count)]
    columns = {f"c{n}": random.random(count) for n in range(4)}
    ids = [f"{seed}-{n}" for n in range(count)]
    return pa.table({"id": ids, "x": random.random(count), "at": at} | columns)


@pytest.fixture(params=["S3", "S3 with versions", pytest.param("Azure", marks=pytest.mark.slow)])
def bucket(request: pytest.FixtureRequest, store_credentials: None) -> Bucket:
    return new_bucket(request, request.param)


def read(pin: DataPin) -> pa.Table:
    batches = [batch.batch for split in make_splits(pin) for batch in read_batches(split, SPEC)]
    return pa.Table.from_batches(batches)


def test_splits_of_an_object_hold_the_rows_of_the_file(bucket: Bucket) -> None:
    table = rows(1)
    # For INT96 the reader opens the file again, once per unit.
    bucket.put(KEY, table, row_group_size=10_000, use_deprecated_int96_timestamps=True)
    pin = bucket.pin(KEY)
    schema = inspect(pin)
    assert (schema.rows, len(schema.columns)) == (50_000, 7)
    found = read(pin)
    assert found.select(["id", "x"]).equals(table.select(["id", "x"]))
    frame = read_frame(pin, PARTITION, columns={"x"})
    assert frame["x"].tolist() == table["x"].to_pylist()
    assert [pickle.loads(pickle.dumps(split)) for split in make_splits(pin)] == list(make_splits(pin))


def replaced(bucket: Bucket) -> None:
    bucket.put(KEY, rows(2))


def deleted(bucket: Bucket) -> None:
    obstore.delete(bucket.store, KEY)


@pytest.mark.parametrize("change", [replaced, deleted])
def test_an_object_that_is_no_longer_the_pinned_one_is_never_read(
    s3_port: int, store_credentials: None, change: Any
) -> None:
    bucket = s3_bucket(s3_port)
    bucket.put(KEY, rows(1))
    pin = bucket.pin(KEY)
    splits = make_splits(pin)
    change(bucket)
    for question in (
        lambda: inspect(pin),
        lambda: make_splits(pin),
        lambda: read_frame(pin, PARTITION),
        lambda: [*read_batches(splits[0], SPEC)],
    ):
        with pytest.raises(DataError, match=r"part 0%20é\.parquet: changed since it was pinned"):
            question()


@pytest.mark.parametrize("change", [replaced, deleted])
def test_a_pinned_version_is_read_after_the_object_was_replaced(
    s3_port: int, store_credentials: None, change: Any
) -> None:
    bucket = s3_bucket(s3_port, versions=True)
    bucket.put(KEY, rows(1))
    pin = bucket.pin(KEY)
    change(bucket)
    assert read(pin)["x"].equals(rows(1)["x"])
    s3_client(s3_port).delete_object(Bucket=bucket.uri[5:], Key=KEY, VersionId=pin.files[0].version)
    with pytest.raises(DataError, match="changed since it was pinned"):
        read(pin)


def test_an_object_that_changes_between_two_reads_is_refused(bucket: Bucket) -> None:
    bucket.put(KEY, rows(1), row_group_size=10_000)
    pin = bucket.pin(KEY)
    without_version = replace(pin, files=tuple(replace(file, version=None) for file in pin.files))
    batches = read_batches(make_splits(without_version)[0], replace(SPEC, batch_rows=1_000))
    next(batches)
    replaced(bucket)
    with pytest.raises(DataError, match="changed since it was pinned"):
        list(batches)


def test_a_footer_is_fetched_once_and_columns_that_nobody_wants_never(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(KEY, rows(1), row_group_size=10_000, compression="none", use_dictionary=False)
    pin, asked = bucket.pin(KEY), []
    get = obstore.get

    def counted(store: Any, key: str, *, options: Any) -> Any:
        asked.append(options["range"])
        return get(store, key, options=options)

    monkeypatch.setattr(object_inputs.obstore, "get", counted)
    inspect(pin)
    size = pin.files[0].size
    assert asked == [(size - 64 * 1024, size), (0, 64)]
    asked.clear()
    splits = make_splits(pin)
    assert asked == [(size - 64 * 1024, size)]
    asked.clear()
    list(read_batches(splits[0], scoring_spec()))
    wanted = sum(end - start for start, end in asked)
    assert wanted < size / 2
    # Two columns that lie side by side, of five row groups, and the footer.
    assert len(asked) <= 6


def test_two_objects_of_the_same_content_are_told(s3_port: int, store_credentials: None) -> None:
    # Azure's ETags say nothing of the content.
    bucket = s3_bucket(s3_port)
    bucket.put("date=1/a.parquet", rows(1, 10))
    bucket.put("date=1/b.parquet", rows(1, 10))
    bucket.put("date=1/c.parquet", rows(2, 10))
    with pytest.raises(DataError, match="is the same file as another one") as raised:
        inspect(bucket.pin("date=1/a.parquet", "date=1/b.parquet", "date=1/c.parquet"))
    assert [problem.path for problem in raised.value.problems] == ["date=1/b.parquet"]


def test_what_is_no_parquet_is_told_as_of_a_local_file(bucket: Bucket) -> None:
    whole = pa.BufferOutputStream()
    pq.write_table(rows(1, 10), whole)
    content = whole.getvalue().to_pybytes()
    for name, bad in {"empty": b"", "page": b"<html>no</html>", "cut": content[:-20]}.items():
        bucket.put(f"date=1/{name}", bad)
    with pytest.raises(DataError) as raised:
        inspect(bucket.pin("date=1/empty", "date=1/page", "date=1/cut"))
    told = [problem.problem for problem in raised.value.problems]
    assert told[0] == "cannot be read as Parquet"
    assert "HTML" in told[1]
    assert "truncated" in told[2]


def test_a_store_that_is_not_there_is_an_error_from_outside(bucket: Bucket) -> None:
    bucket.put(KEY, rows(1, 10))
    pin = replace(bucket.pin(KEY), storage=StorageSpec(endpoint="http://127.0.0.1:9", region="us-east-1"))
    with pytest.raises(SourceError, match="cannot be reached"):
        inspect(pin)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://lake/a b/c%20d.parquet", ("s3://lake", "a b/c%20d.parquet")),
        ("gs://lake", ("gs://lake", "")),
        ("abfss://lake@account.dfs.core.windows.net/a/", ("abfss://lake@account.dfs.core.windows.net", "a")),
    ],
)
def test_a_uri_is_a_bucket_and_a_key(uri: str, expected: tuple[str, str]) -> None:
    assert split_uri(uri) == expected


@pytest.mark.parametrize("uri", ["lake/a", "ftp://lake/a", "s3://", "s3:///a"])
def test_what_is_no_uri_of_a_store_is_refused(uri: str) -> None:
    with pytest.raises(DataError, match="is not the URI of an object store"):
        split_uri(uri)
