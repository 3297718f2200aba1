"""The client that lists versions has the endpoint and the credentials that obstore has."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.storage.object_versions import _client, newest_versions

SHARED = "[default]\naws_access_key_id = from-a-file\naws_secret_access_key = x\n"
OTHER = "[scoring]\naws_access_key_id = of-the-profile\naws_secret_access_key = x\n"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    (tmp_path / "credentials").write_text(SHARED + OTHER)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.parametrize(
    ("environment", "storage", "endpoint", "region"),
    [
        ({}, StorageSpec(), "https://s3.amazonaws.com", "us-east-1"),
        (
            {"AWS_DEFAULT_REGION": "eu-west-1"},
            StorageSpec(),
            "https://s3.eu-west-1.amazonaws.com",
            "eu-west-1",
        ),
        ({"AWS_ENDPOINT": "http://a:1", "AWS_REGION": "x"}, StorageSpec(), "http://a:1", "x"),
        (
            {"AWS_ENDPOINT_URL": "http://a:1"},
            StorageSpec(endpoint="http://b:2", region="y"),
            "http://b:2",
            "y",
        ),
    ],
)
def test_endpoint_and_region(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    storage: StorageSpec,
    endpoint: str,
    region: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    client = _client(storage)
    assert (client.meta.endpoint_url, client.meta.region_name) == (endpoint, region)


@pytest.mark.parametrize(
    ("environment", "profile", "expected"),
    [
        ({}, None, None),
        (
            {"AWS_ACCESS_KEY_ID": "of-the-environment", "AWS_SECRET_ACCESS_KEY": "x"},
            None,
            "of-the-environment",
        ),
        ({}, "scoring", "of-the-profile"),
        ({"AWS_PROFILE": "scoring"}, None, "of-the-profile"),
    ],
)
def test_credentials_of_a_file_are_those_of_a_named_profile(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], profile: str | None, expected: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = _client(StorageSpec(profile=profile))._request_signer._credentials
    assert (found.access_key if found else None) == expected


def test_what_cannot_be_listed_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = StorageSpec(endpoint="http://127.0.0.1:9")
    assert newest_versions("s3://lake", ["a", "b"], nowhere, pages=1) == {}
    assert newest_versions("s3://lake", ["a"], StorageSpec(profile="none"), pages=1) == {}
    assert newest_versions("gs://lake", ["a"], StorageSpec(), pages=1) == {}
