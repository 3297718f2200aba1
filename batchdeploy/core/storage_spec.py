"""The deployment's settings for object stores."""

from __future__ import annotations

from dataclasses import dataclass

from batchdeploy.core import FORBID_UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSpec:
    """How the object stores of the deployment's URIs are reached.

    Holds no secret: credentials come from the environment, from an Airflow Connection, or from the cloud's
    own chain.

    Attributes:
        endpoint: the URL of a store other than the cloud's own (MinIO, Ceph, an emulator); null uses the
            cloud's, or the one that the environment names.
        region: the bucket's region, for S3; null uses ``AWS_REGION``.
        profile: a named profile of ``~/.aws``, for S3; null uses ``AWS_PROFILE``, if that is set.
        connection: the id of an Airflow Connection (Amazon, Google Cloud, Azure Blob Storage or Data Lake)
            with credentials, endpoint and region for Airflow's tasks. Outside of Airflow it is ignored:
            there the environment gives the credentials.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    connection: str | None = None
