"""Finds objects of an S3 remote that workers can read where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from importlib.util import find_spec
from typing import Any

from batchdeploy.adapters.sources.dvc.fetching import source_path, usable_remote
from batchdeploy.adapters.sources.dvc.recorded import DvcObject
from batchdeploy.adapters.sources.dvc.transfer import watched
from batchdeploy.core.storage_spec import StorageSpec

# Settings of a remote that its workers do not have: they take credentials from their own environment.
OWN_CREDENTIALS = ("access_key_id", "secret_access_key", "session_token", "credentialpath", "configpath")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """An object of a remote, whose ETag is the MD5 that DVC recorded.

    Attributes:
        location: its URI.
        size: in bytes.
        modified: when it was stored, ISO 8601 in UTC.
    """

    location: str
    size: int
    modified: str


def find_in_place(
    repo: Any, wanted: Sequence[DvcObject]
) -> tuple[dict[str, StoredObject], StorageSpec] | None:
    """The objects by their hashes, and how their store is reached; None if they have to be fetched.

    Objects can be read in place if all lie in one S3 remote, with the MD5 of their content as ETag: S3
    computes it, so that an object with other content has another ETag. Those that were uploaded in parts or
    encrypted with a customer's key have no such ETag.
    """
    names = {one.out.remote for one in wanted}
    if len(names) != 1 or find_spec("obstore") is None:
        return None
    remote = usable_remote(repo, next(iter(names)))
    if remote is None or remote.fs.protocol != "s3" or remote.fs.version_aware:
        return None
    settings = remote.fs.config
    if any(settings.get(name) for name in OWN_CREDENTIALS):
        return None
    found: dict[str, StoredObject] = {}

    def look() -> None:
        for one in wanted:
            path = source_path(remote, one)
            info = remote.fs.info(path)
            if str(info.get("ETag")).strip('"') == one.md5:
                modified = info["LastModified"].astimezone(UTC).isoformat(timespec="seconds")
                location = remote.fs.unstrip_protocol(path)
                found[one.oid] = StoredObject(location=location, size=info["size"], modified=modified)

    try:
        watched(lambda: len(found), look)
    except Exception:  # noqa: BLE001
        # Fetching meets the same failure, and reports it.
        return None
    if len(found) < len({one.oid for one in wanted}):
        return None
    spec = StorageSpec(
        endpoint=settings.get("endpointurl"), region=settings.get("region"), profile=settings.get("profile")
    )
    return found, spec
