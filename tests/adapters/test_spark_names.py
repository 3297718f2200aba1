"""How pinned files are named for Spark, and found again in what Spark says of them."""

from __future__ import annotations

import pytest

from batchdeploy.adapters.engines.spark.read_failures import read_failure
from batchdeploy.adapters.engines.spark.stored_files import (
    pinned_place,
    place,
    read_options,
    spark_path,
    table_name,
)
from batchdeploy.core.pins import DataPin, FilePin
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.errors import RequestError

# A pinned location, Spark's path for it, and the two ways in which Spark writes it.
NAMES = {
    "/data/a b/part-0.parquet": ("file:///data/a b/part-0.parquet", "file:/data/a%20b/part-0.parquet"),
    "/data/per%cent.parquet": ("file:///data/per%cent.parquet", "file:///data/per%25cent.parquet"),
    "/data/ü[1]{2}*?.parquet": (
        r"file:///data/ü\[1\]\{2\}\*\?.parquet",
        "file:///data/ü%5B1%5D%7B2%7D*%3F.parquet",
    ),
    "s3://lake/a b.parquet": ("s3a://lake/a b.parquet", "s3a://lake/a%20b.parquet"),
    "gs://lake/a%20b.parquet": ("gs://lake/a%20b.parquet", "gs://lake/a%2520b.parquet"),
}


def pin_of(*locations: str, storage: StorageSpec = StorageSpec()) -> DataPin:
    files = tuple(FilePin(path=f"p{n}", md5="", size=1, location=at) for n, at in enumerate(locations))
    return DataPin(path="data", rev=None, tracked="plain", digest="", files=files, storage=storage)


@pytest.mark.parametrize(("location", "names"), NAMES.items(), ids=NAMES.keys())
def test_a_file_is_found_again_in_what_spark_writes(location: str, names: tuple[str, str]) -> None:
    path, written = names
    assert spark_path(location) == path
    assert place(written) == pinned_place(location)


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("az://lake/a.parquet", "Spark has no filesystem for such a URI"),
        ("/data/k=v/a:b.parquet", "Spark cannot open a file whose name has a colon"),
        ("s3://lake/_a.parquet", "Spark leaves out files whose names begin with _ or a dot"),
        ("/data/k=v/.a.parquet", "Spark leaves out files whose names begin with _ or a dot"),
    ],
)
def test_names_that_spark_cannot_open_are_refused(location: str, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        spark_path(location)
    assert "engine.read: splits" in str(caught.value)


def test_a_store_is_reached_as_the_deployment_says_and_no_secret_is_passed_on() -> None:
    storage = StorageSpec(endpoint="http://127.0.0.1:9000", region="us-east-1")
    options = read_options(pin_of("s3://lake/a", storage=storage))
    assert {name: value for name, value in options.items() if name.startswith("fs.")} == {
        "fs.s3a.endpoint": "http://127.0.0.1:9000",
        "fs.s3a.path.style.access": "true",
        "fs.s3a.connection.ssl.enabled": "false",
        "fs.s3a.endpoint.region": "us-east-1",
    }
    assert not any(name.startswith("fs.") for name in read_options(pin_of("/data/a", storage=storage)))
    assert options["parquet.page.verify-checksum.enabled"] == "true"
    with pytest.raises(RequestError, match=r"storage\.profile: is not known to Spark; set AWS_PROFILE"):
        read_options(pin_of("s3://lake/a", storage=StorageSpec(profile="scoring")))


def test_names_of_tables_are_not_parsed_as_expressions() -> None:
    assert table_name("spark_catalog.lake.a-b") == "`spark_catalog`.`lake`.`a-b`"


READ = "Encountered error while reading file"
FAILURES = {
    "a corrupt page": (
        f"[FAILED_READ_FILE.NO_HINT] {READ} file:///data/a%20b.parquet.  SQLSTATE: KD001",
        "p0: its pages cannot be read",
    ),
    "a file that is gone": (
        f"[FAILED_READ_FILE.FILE_NOT_EXIST] {READ} file:///data/a%20b.parquet. File does not exist.",
        "p0: changed since it was pinned",
    ),
    "a file of another read": (
        f"[FAILED_READ_FILE.NO_HINT] {READ} file:///data/c.parquet.  SQLSTATE: KD001",
        "/data/c.parquet: its pages cannot be read",
    ),
    "a filesystem that is missing": (
        "java.lang.ClassNotFoundException: Class org.apache.hadoop.fs.s3a.S3AFileSystem not found",
        "Spark lacks the jar of the filesystem of this store",
    ),
    "a scheme that is not known": (
        'org.apache.hadoop.fs.UnsupportedFileSystemException: No FileSystem for scheme "gs"',
        "Spark lacks the jar of the filesystem of this store",
    ),
}


@pytest.mark.parametrize(("text", "message"), FAILURES.values(), ids=FAILURES.keys())
def test_failures_of_reading_name_the_file_and_are_wrong_requests(text: str, message: str) -> None:
    found = read_failure(pin_of("/data/a b.parquet"), f"org.apache.spark.SparkException: {text}\n\tat x.Y")
    assert found is not None
    assert message in str(found)
    assert found.exit_code == 2


def test_other_failures_are_the_engines() -> None:
    assert read_failure(pin_of("/data/a"), "java.lang.OutOfMemoryError: Java heap space") is None
    of_a_store = "[FAILED_READ_FILE.NO_HINT] Encountered error while reading file s3a://lake/a. 403"
    assert read_failure(pin_of("s3://lake/a"), of_a_store) is None
