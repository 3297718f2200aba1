"""Opens the object store of a URI: S3, GCS or Azure, with bounded retries and timeouts."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any

from obstore.exceptions import BaseError
from obstore.store import from_url

from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.errors import DataError, MissingPackageError, Problem

URI = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.DOTALL)
# An unreachable endpoint is reported within half a minute, whether it refuses or never answers.
TIMES = {
    "connect_timeout": timedelta(seconds=5),
    "read_timeout": timedelta(seconds=12),
    "timeout": timedelta(minutes=10),
}
TRIES = {"max_retries": 4, "retry_timeout": timedelta(seconds=15)}
# The environment variables that stores are configured by.
VARIABLES = ("AWS_", "AZURE_", "GOOGLE_", "GCS_")
S3, GCS, AZURE = frozenset({"s3", "s3a"}), frozenset({"gs"}), frozenset({"az", "azure", "abfs", "abfss"})


def split_uri(uri: str) -> tuple[str, str]:
    """Splits a URI into the bucket's URI and the key, without unquoting.

    Raises:
        DataError: the URI is not that of an object store.
    """
    match = URI.fullmatch(uri)
    bucket, _, key = match.group(2).partition("/") if match else ("", "", "")
    if match is None or not bucket or match.group(1) not in S3 | GCS | AZURE:
        known = "s3://, gs://, az://, abfss://"
        raise DataError(uri, (Problem(uri, f"is not the URI of an object store: {known}"),))
    return f"{match.group(1)}://{bucket}", key.strip("/")


def unquoted(etag: str | None) -> str | None:
    """An ETag without its quotes, which Azure gives in some answers only."""
    return etag if etag is None else etag.removeprefix('"').removesuffix('"')


def open_store(bucket: str, spec: StorageSpec, tries: Mapping[str, Any] = TRIES) -> Any:
    """Opens the obstore store of a bucket, without a request.

    Args:
        bucket: the bucket's URI, from `split_uri`.
        spec: endpoint, region and profile; they override the environment.
        tries: how obstore repeats a request, as its ``retry_config``.

    Raises:
        DataError: obstore rejects these settings.
    """
    # NOTE: a store keeps the environment that it was opened in.
    return _open(bucket, spec, _settings(), tuple(sorted(tries.items())))


def _settings() -> tuple[tuple[str, str], ...]:
    """The environment variables that stores are configured by, with their values, sorted."""
    return tuple(sorted(pair for pair in os.environ.items() if pair[0].startswith(VARIABLES)))


def _is_plain_http(spec: StorageSpec, environment: tuple[tuple[str, str], ...]) -> bool:
    """Whether an endpoint is plain HTTP, for example of a local store; its scheme asks for it."""
    endpoints = [spec.endpoint, *(value for name, value in environment if "ENDPOINT" in name)]
    return any((endpoint or "").startswith("http://") for endpoint in endpoints)


@lru_cache(maxsize=16)
def _open(
    bucket: str,
    spec: StorageSpec,
    environment: tuple[tuple[str, str], ...],
    tries: tuple[tuple[str, Any], ...],
) -> Any:
    scheme = bucket.partition("://")[0]
    config: dict[str, Any] = {}
    options: dict[str, Any] = dict(TIMES)
    if spec.endpoint is not None:
        config["base_url" if scheme in GCS else "endpoint"] = spec.endpoint
    if spec.region is not None and scheme in S3:
        config["region"] = spec.region
    if _is_plain_http(spec, environment):
        options["allow_http"] = True
    profile = spec.profile or dict(environment).get("AWS_PROFILE")
    others: dict[str, Any] = {}
    if profile and scheme in S3:
        others["credential_provider"] = _from_profile(profile)
    try:
        return from_url(bucket, config=config, client_options=options, retry_config=dict(tries), **others)
    except (BaseError, OSError, ValueError, TypeError) as error:
        hint = "AZURE_STORAGE_ACCOUNT_NAME names the account" if scheme in AZURE else None
        problem = Problem("storage", "no store can be opened", _first_line(error))
        raise DataError(bucket, (problem,), hint=hint) from None


def _from_profile(profile: str) -> Any:
    """The credentials of a profile of ``~/.aws``, refreshed by boto3 when they expire."""
    try:
        from boto3 import Session
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        problem = Problem("storage.profile", "needs boto3, which is not installed")
        raise MissingPackageError("this Python", (problem,), hint="pip install boto3") from None
    try:
        return Boto3CredentialProvider(Session(profile_name=profile))
    except (BotoCoreError, ValueError) as error:
        problem = Problem("storage.profile", "gives no credentials", f"{profile}: {_first_line(error)}")
        raise DataError("~/.aws", (problem,)) from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def delta_options(location: str, spec: StorageSpec) -> dict[str, str] | None:
    """What deltalake takes beside the environment to reach a table's store; None for a local folder."""
    scheme = location.partition("://")[0]
    if scheme in (location, "file"):
        return None
    options: dict[str, str] = {}
    if spec.endpoint is not None:
        options["endpoint"] = spec.endpoint
    if _is_plain_http(spec, _settings()):
        options["allow_http"] = "true"
    if spec.region is not None and scheme in S3:
        options["region"] = spec.region
    if scheme in S3 and (credentials := profile_credentials(spec)):
        options |= {f"aws_{name}": value for name, value in credentials.items()}
    return options


def profile_credentials(spec: StorageSpec) -> dict[str, str]:
    """The keys of ``storage.profile`` or ``AWS_PROFILE``, for clients without profiles; empty without one.

    Returns:
        ``access_key_id``, ``secret_access_key`` and, where they are temporary, ``session_token``.
    """
    profile = spec.profile or os.environ.get("AWS_PROFILE")
    if not profile:
        return {}
    found = _from_profile(profile)()
    names = {
        "access_key_id": "access_key_id",
        "secret_access_key": "secret_access_key",
        "token": "session_token",
    }
    return {name: found[key] for key, name in names.items() if found.get(key)}
