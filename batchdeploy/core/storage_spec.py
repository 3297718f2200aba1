"""The deployment's settings for object stores."""

from __future__ import annotations

from dataclasses import dataclass

from batchdeploy.core import FORBID_UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSpec:
    """How the object stores of the deployment's URIs are reached.

    Holds no secret: credentials come from the environment, or from the cloud's own chain.

    Attributes:
        endpoint: the URL of a store other than the cloud's own (MinIO, Ceph, an emulator); null uses the
            cloud's, or the one that the environment names.
        region: the bucket's region, for S3; null uses ``AWS_REGION``.
        profile: a named profile of ``~/.aws``, for S3; null uses ``AWS_PROFILE``, if that is set.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
