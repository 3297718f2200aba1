"""The environment variables that an Airflow Connection stands for, as object stores and boto3 read them.

Field names are those of the hooks in Airflow's providers for Amazon, Google and Microsoft Azure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from batchdeploy.errors import Problem, RequestError

Variables = dict[str, str]
# Variables by which a process may have credentials already; with others beside them, they would win.
AWS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")
AWS_ROLES = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
GOOGLE = (
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_BEARER_TOKEN",
    "GOOGLE_SKIP_SIGNATURE",
)
AZURE = (
    *(f"AZURE_STORAGE_{name}" for name in ("ACCOUNT_KEY", "ACCESS_KEY", "SAS_TOKEN", "SAS_KEY", "TOKEN")),
    *(f"AZURE_STORAGE_{name}" for name in ("CLIENT_ID", "CLIENT_SECRET", "TENANT_ID")),
    *(f"AZURE_{name}" for name in ("CLIENT_ID", "CLIENT_SECRET", "TENANT_ID", "FEDERATED_TOKEN_FILE")),
)
# Fields that decide who the task is, and that no variable stands for.
UNSUPPORTED = {
    "aws": {"role_arn": "give the worker that role, or name a profile that assumes it (profile_name)"},
    "google_cloud_platform": dict.fromkeys(
        ("key_secret_name", "credential_config_file", "impersonation_chain", "idp_issuer_url"),
        "give key_path or keyfile_dict, or the worker its service account",
    ),
    "azure": {"managed_identity_client_id": "give the worker that identity"},
}


def connection_variables(connection: Any) -> tuple[Variables, tuple[str, ...]]:
    """The variables to set and those to unset for a connection.

    A connection without credentials, such as one with a region only, unsets none: the worker's own stay.

    Args:
        connection: an `airflow.sdk.Connection` of type ``aws``, ``google_cloud_platform``, ``wasb`` or
            ``adls``.

    Raises:
        RequestError: the type is another one, or a field has no variable that stands for it.
    """
    kind = str(connection.conn_type or "").replace("-", "_")
    if kind not in KINDS:
        what = Problem("its type", f"must be one of {', '.join(KINDS)}", kind or "none")
        raise RequestError(f"the Airflow connection {connection.conn_id}", (what,))
    extra = _extra(connection, kind)
    family = "azure" if kind in ("wasb", "adls") else kind
    problems = tuple(
        Problem(f"extra.{name}", "is not supported") for name in UNSUPPORTED[family] if extra.get(name)
    )
    if problems:
        hint = UNSUPPORTED[family][problems[0].path.removeprefix("extra.")]
        raise RequestError(f"the Airflow connection {connection.conn_id}", problems, hint=hint)
    read, credentials = KINDS[kind]
    found = {name: str(value) for name, value in read(connection, extra) if value not in (None, "")}
    has_any = any(name in found for name in credentials)
    return found, tuple(name for name in credentials if has_any and name not in found)


def _extra(connection: Any, kind: str) -> Mapping[str, Any]:
    """The connection's extra; older connections have the type in front of each name."""
    prefix = f"extra__{kind}__"
    return {str(name).removeprefix(prefix): value for name, value in connection.extra_dejson.items()}


def _aws(connection: Any, extra: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    services = extra.get("service_config")
    s3 = services.get("s3") if isinstance(services, Mapping) else None
    endpoint = (s3.get("endpoint_url") if isinstance(s3, Mapping) else None) or extra.get("endpoint_url")
    yield "AWS_ACCESS_KEY_ID", connection.login or extra.get("aws_access_key_id")
    yield "AWS_SECRET_ACCESS_KEY", connection.password or extra.get("aws_secret_access_key")
    yield "AWS_SESSION_TOKEN", extra.get("aws_session_token")
    yield "AWS_PROFILE", extra.get("profile_name")
    # The worker may have the first one, which precedes the other.
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        yield name, endpoint
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        yield name, extra.get("region_name")


def _google(_connection: Any, extra: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    key = extra.get("keyfile_dict")
    yield "GOOGLE_APPLICATION_CREDENTIALS", extra.get("key_path")
    yield "GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(key) if isinstance(key, Mapping) else key
    yield "GOOGLE_SKIP_SIGNATURE", "true" if extra.get("is_anonymous") is True else None


def _azure(connection: Any, extra: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    given = dict(_connection_string(str(extra.get("connection_string") or "")))
    account, endpoint = _account(given.get("BlobEndpoint") or connection.host)
    yield "AZURE_STORAGE_ENDPOINT", endpoint
    yield "AZURE_STORAGE_SAS_TOKEN", given.get("SharedAccessSignature") or extra.get("sas_token")
    if extra.get("tenant_id"):
        yield "AZURE_STORAGE_ACCOUNT_NAME", given.get("AccountName") or account
        yield "AZURE_STORAGE_TENANT_ID", extra["tenant_id"]
        yield "AZURE_STORAGE_CLIENT_ID", connection.login
        yield "AZURE_STORAGE_CLIENT_SECRET", connection.password
        return
    # Of wasb the login is the account; of adls the host is.
    named = account if connection.conn_type == "adls" else connection.login or account
    yield "AZURE_STORAGE_ACCOUNT_NAME", given.get("AccountName") or named
    key = given.get("AccountKey") or extra.get("shared_access_key") or connection.password
    yield "AZURE_STORAGE_ACCOUNT_KEY", key


def _connection_string(text: str) -> Iterator[tuple[str, str]]:
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if equals:
            yield name.strip(), value.strip()


def _account(host: str | None) -> tuple[str | None, str | None]:
    """(account, endpoint) of a host: an account's name, its address at Azure, or another store's URL."""
    if not host:
        return None, None
    parts = urlsplit(host if "://" in host else f"https://{host}")
    address = parts.hostname or ""
    if "." not in address and "://" not in host:
        return host, None
    if address.endswith((".core.windows.net", ".azure.net")):
        return address.partition(".")[0], None
    return parts.path.strip("/") or None, host


Reader = Callable[[Any, Mapping[str, Any]], Iterable[tuple[str, Any]]]
KINDS: Mapping[str, tuple[Reader, tuple[str, ...]]] = {
    "aws": (_aws, (*AWS, *AWS_ROLES)),
    "google_cloud_platform": (_google, GOOGLE),
    "wasb": (_azure, AZURE),
    "adls": (_azure, AZURE),
}
