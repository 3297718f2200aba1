"""Object stores for tests: a bucket of its own for each, and rows in it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchdeploy.core.pins import DataPin, FilePin, digest_files
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.storage.object_store import open_store


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket and how it is reached.

    Attributes:
        uri: of the bucket, without a slash at its end.
        store: the same as obstore's.
        storage: the endpoint, as a deployment names it.
    """

    uri: str
    store: Any
    storage: StorageSpec

    def put(self, key: str, content: bytes | pa.Table, **options: Any) -> None:
        """Stores bytes, or a table as Parquet, under a key."""
        import obstore

        if isinstance(content, pa.Table):
            sink = pa.BufferOutputStream()
            pq.write_table(content, sink, **options)
            content = sink.getvalue().to_pybytes()
        obstore.put(self.store, key, content)

    def pin(self, *keys: str) -> DataPin:
        """Objects as they are now."""
        files = tuple(self._pin_object(key) for key in keys)
        digest = digest_files((file.path, file.fingerprint) for file in files)
        return DataPin(
            path=self.uri, rev=None, tracked="plain", digest=digest, files=files, storage=self.storage
        )

    def _pin_object(self, key: str) -> FilePin:
        import obstore

        found = obstore.head(self.store, key)
        return FilePin(
            path=key,
            md5="",
            size=found["size"],
            location=f"{self.uri}/{key}",
            etag=found["e_tag"],
            version=found["version"],
            modified=found["last_modified"].isoformat(),
        )


def s3_bucket(port: int, *, versions: bool = False) -> Bucket:
    """A new bucket of the S3 server at a port of this machine."""
    name, endpoint = f"lake-{uuid.uuid4().hex[:12]}", f"http://127.0.0.1:{port}"
    client = s3_client(port)
    client.create_bucket(Bucket=name)
    if versions:
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    storage = StorageSpec(endpoint=endpoint, region="us-east-1")
    return Bucket(uri=f"s3://{name}", store=open_store(f"s3://{name}", storage), storage=storage)


def s3_client(port: int) -> Any:
    """boto3's client of the S3 server at a port of this machine."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
    )
