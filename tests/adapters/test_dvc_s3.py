"""A DVC remote on S3: what is read of it, counted, and what becomes of each of its failures."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dvc_projects import DATA, FIRST, SECOND, THIRD, Proxy, before, cached, clone, error_xml, two_commits
from faults.stores import BUCKET, ENVIRONMENT

from batchdeploy.adapters.parquet_splits import inspect
from batchdeploy.adapters.sources.dvc import DvcSource, transfer
from batchdeploy.core.deployment import DataRef, PartitionSpec
from batchdeploy.errors import DataError, SourceError

pytestmark = pytest.mark.slow

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
NOW = DataRef(path=DATA, partition=PartitionSpec(column="date"), keys=("customer_id",), rev="HEAD")
BEFORE = replace(NOW, rev="HEAD~1")


@pytest.fixture(scope="module")
def remote(s3_port: int) -> Iterator[Proxy]:
    """A proxy before the S3 server."""
    with before(s3_port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def origin(remote: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with two commits whose remote is on S3."""
    root = tmp_path_factory.mktemp("s3") / "origin"
    given = {**ENVIRONMENT, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true"}
    with pytest.MonkeyPatch.context() as patched:
        for name, value in given.items():
            patched.setenv(name, value)
        url = f"s3://{BUCKET}/{root.parent.name}/store"
        two_commits(root, url, DATA, endpointurl=f"http://127.0.0.1:{remote.port}")
        yield root


@pytest.fixture
def bare(origin: Path, remote: Proxy, tmp_path: Path) -> Iterator[Path]:
    """A bare clone; the proxy has forgotten what it did before."""
    remote.requests.clear()
    yield clone(origin, tmp_path / "clone")
    remote.answer, remote.cut, remote.hang = (lambda _: None), None, False


def test_only_the_bytes_of_the_partition_are_read(remote: Proxy, bare: Path) -> None:
    source = DvcSource(bare)
    assert source.partitions(BEFORE) == (FIRST, SECOND)
    (listing,) = remote.objects
    assert listing.endswith(".dir")
    pin = source.pin(BEFORE, FIRST)
    assert inspect(pin).rows == 5
    assert set(remote.objects) == {listing, pin.files[0].md5} == cached(bare)
    assert remote.objects[pin.files[0].md5] == pin.files[0].size
    before_ = len(remote.requests)
    assert source.pin(BEFORE, FIRST) == pin
    assert len(remote.requests) == before_
    assert inspect(source.pin(NOW, FIRST)).rows == 7
    assert source.partitions(NOW) == (FIRST, SECOND, THIRD)
    assert len(remote.objects) == 4


def test_workers_elsewhere_read_the_objects_of_the_remote_in_place(
    remote: Proxy, bare: Path, tmp_path: Path
) -> None:
    pin = DvcSource(bare, in_place=True).pin(BEFORE, FIRST)
    (file,) = pin.files
    assert file.location.startswith(f"s3://{BUCKET}/")
    assert pin.storage.endpoint == f"http://127.0.0.1:{remote.port}"
    assert file.md5 not in cached(bare) | set(remote.objects)
    assert inspect(pin).rows == 5
    assert remote.objects[file.md5] <= file.size
    assert file.md5 not in cached(bare)
    fetched = DvcSource(bare).pin(BEFORE, FIRST)
    assert (fetched.digest, fetched.files[0].size) == (pin.digest, file.size)
    # What is in the cache is read from there.
    assert DvcSource(bare, in_place=True).pin(BEFORE, FIRST) == fetched


def test_a_spoilt_object_is_not_read_in_place(remote: Proxy, bare: Path, s3_port: int) -> None:
    import boto3

    pin = DvcSource(bare, in_place=True).pin(NOW, FIRST)
    bucket, _, key = pin.files[0].location.removeprefix("s3://").partition("/")
    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{s3_port}", region_name="us-east-1")
    content = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    client.put_object(Bucket=bucket, Key=key, Body=content[:-1] + b"x")
    try:
        with pytest.raises(DataError, match="changed since it was pinned"):
            inspect(pin)
        with pytest.raises(SourceError, match="the remote holds other content"):
            DvcSource(bare, in_place=True).pin(NOW, FIRST)
    finally:
        client.put_object(Bucket=bucket, Key=key, Body=content)


def test_a_remote_with_credentials_of_its_own_is_fetched_from(bare: Path) -> None:
    config = bare / ".dvc" / "config.local"
    config.write_text(f"['remote \"store\"']\n    access_key_id = key\n    secret_access_key = {SECRET}\n")
    pin = DvcSource(bare, in_place=True).pin(NOW, FIRST)
    assert pin.files[0].md5 in cached(bare)


FAILURES = {
    "403": (403, "AccessDenied", "Access Denied"),
    "expired": (400, "ExpiredToken", "The provided token has expired."),
    "unknown key": (403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist"),
    "500": (500, "InternalError", "We encountered an internal error"),
    "503": (503, "ServiceUnavailable", "Please try again"),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_refusal_is_one_message_without_a_secret(remote: Proxy, bare: Path, kind: str) -> None:
    status, code, text = FAILURES[kind]
    remote.answer = lambda _: (status, error_xml(code, text))
    refused(bare, "cannot be read")


def test_a_reply_that_is_cut_is_continued_or_one_message(remote: Proxy, bare: Path) -> None:
    DvcSource(bare).partitions(NOW)
    remote.cut = 0
    refused(bare, "cannot be read")
    remote.cut = 1000
    assert inspect(DvcSource(bare).pin(NOW, FIRST)).rows == 7


def test_a_remote_that_does_not_answer_is_given_up(
    remote: Proxy, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "STALL_SECONDS", 1.0)
    remote.hang = True
    refused(bare, "sent nothing for 1 second")


def test_a_spoilt_object_is_not_kept(remote: Proxy, bare: Path) -> None:
    DvcSource(bare).partitions(NOW)
    remote.answer = lambda path: (200, b"PAR1 but not what was recorded")
    refused(bare, f"{DATA}/date={FIRST}/part-0.parquet: the remote holds other content")


def test_a_bucket_that_is_not_there(bare: Path) -> None:
    config = bare / ".dvc" / "config.local"
    config.write_text("['remote \"store\"']\n    url = s3://another-bucket/store\n")
    refused(bare, "cannot be read: The specified bucket does not exist")


def test_no_credentials(bare: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    refused(bare, "Unable to locate credentials")


def test_nobody_listens(bare: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    config = bare / ".dvc" / "config.local"
    address = f"    endpointurl = http://127.0.0.1:{port}\n"
    keys = f"    access_key_id = key\n    secret_access_key = {SECRET}\n"
    config.write_text(f"['remote \"store\"']\n{address}{keys}")
    refused(bare, "Could not connect")


def refused(root: Path, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        DvcSource(root).pin(NOW, FIRST)
    assert (caught.value.exit_code, len(caught.value.problems)) == (3, 1)
    assert SECRET not in str(caught.value)
    assert all(oid.endswith(".dir") for oid in cached(root))
