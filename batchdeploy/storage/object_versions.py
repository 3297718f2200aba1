"""Lists the newest versions of many objects of S3, a thousand a request, where botocore is installed.

obstore's listing has no versions, so that each object would have to be asked about.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.storage.object_store import S3, TIMES, split_uri, unquoted

# The sources of credentials that obstore knows as well; files of ~/.aws only by a profile.
CHAIN = {"env", "assume-role-with-web-identity", "container-role", "iam-role"}
# The environment variables by which obstore knows an endpoint.
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
# A page that fails is not asked for again and again: the objects can be asked about.
TRIES = 2


class Version(NamedTuple):
    """The newest version of an object, with what tells that it is the listed one."""

    version: str
    etag: str | None
    size: int


def newest_versions(
    bucket: str, keys: Iterable[str], storage: StorageSpec, *, pages: int
) -> Mapping[str, Version]:
    """The newest versions of objects, by key; those that are missing have to be asked about.

    Nothing is raised: without botocore, without permission to list versions (``s3:ListBucketVersions``), or
    if the store fails, there are fewer, or none.

    Args:
        bucket: the bucket's URI.
        keys: of the objects; the versions of all objects in their common folder are listed.
        storage: how to reach the store.
        pages: how many requests to make at most; objects with many old versions take more of them.
    """
    wanted = {*keys}
    if bucket.partition("://")[0] not in S3:
        return {}
    try:
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        return {}
    found: dict[str, Version] = {}
    try:
        folder = posixpath.commonpath(wanted)
        prefix = f"{folder}/" if folder and folder not in wanted else folder
        for page in _pages(bucket, prefix, storage, pages):
            for one in page.get("Versions", ()):
                # NOTE: "null" stands for none, or for one that was stored while the bucket kept no versions.
                if one["IsLatest"] and one["Key"] in wanted and one["VersionId"] != "null":
                    found[one["Key"]] = Version(one["VersionId"], unquoted(one["ETag"]), one["Size"])
    except (BotoCoreError, ClientError, ValueError):
        return found
    return found


def _pages(bucket: str, prefix: str, storage: StorageSpec, most: int) -> Iterator[Any]:
    name, _ = split_uri(bucket)
    pager = _client(storage).get_paginator("list_object_versions")
    for number, page in enumerate(pager.paginate(Bucket=name.partition("://")[2], Prefix=prefix), 1):
        yield page
        if number == most:
            return


def _client(storage: StorageSpec) -> Any:
    """A client with the endpoint, region and credentials that obstore has."""
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.session import Session

    profile = storage.profile or os.environ.get("AWS_PROFILE")
    session = Session(profile=profile)
    if not profile:
        chain = session.get_component("credential_provider")
        chain.providers = [known for known in chain.providers if known.METHOD in CHAIN]
    region = storage.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    endpoint = storage.endpoint or next(filter(None, map(os.environ.get, ENDPOINTS)), None)
    hosted = os.environ.get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "").lower() in ("true", "1")
    unsigned = os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in ("true", "1")
    config = Config(
        connect_timeout=TIMES["connect_timeout"].total_seconds(),
        read_timeout=TIMES["read_timeout"].total_seconds(),
        retries={"total_max_attempts": TRIES, "mode": "standard"},
        s3={"addressing_style": "virtual" if hosted else "path"},
        signature_version=UNSIGNED if unsigned else "s3v4",
    )
    return session.create_client(
        "s3", region_name=region or "us-east-1", endpoint_url=endpoint, config=config
    )
