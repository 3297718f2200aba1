"""Object stores for tests: a bucket of its own for each, and rows in it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pyarrow as pa
import pyarrow.parquet as pq

from batchdeploy.core.pins import DataPin, digest_files
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.storage.object_listing import ObjectFolder
from batchdeploy.storage.object_store import open_store

ROOT = Path(__file__).parents[1]
# Azurite's own account, which it documents.
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
    "AZURE_STORAGE_ACCOUNT_KEY": ACCOUNT_KEY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket and how it is reached.

    Attributes:
        uri: of the bucket, without a slash at its end.
        store: the same as obstore's.
        storage: the endpoint, as a deployment names it.
    """

    uri: str
    # NOTE: obstore's Azure store aborts where it is printed and the account comes from the environment.
    store: Any = field(repr=False)
    storage: StorageSpec

    def through(self, port: int) -> Bucket:
        """The same bucket, reached through a proxy on this port."""
        return replace(self, storage=replace(self.storage, endpoint=f"http://127.0.0.1:{port}"))

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
        files = tuple(ObjectFolder(self.uri, self.storage).look_up(keys))
        digest = digest_files((file.path, file.fingerprint) for file in files)
        return DataPin(
            path=self.uri, rev=None, tracked="plain", digest=digest, files=files, storage=self.storage
        )


def new_bucket(request: Any, kind: str) -> Bucket:
    """A new bucket of the session's server: ``S3``, ``S3 with versions`` or ``Azure``."""
    if kind == "Azure":
        return azure_bucket(request.getfixturevalue("azure_port"))
    return s3_bucket(request.getfixturevalue("s3_port"), versions=kind == "S3 with versions")


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


def azurite_command() -> str | None:
    """Microsoft's emulator of Azure Blob, where `.ci/azurite` or somebody has installed it."""
    here = ROOT / ".azurite" / "node_modules" / ".bin" / "azurite-blob"
    return str(here) if here.is_file() else shutil.which("azurite-blob")


@contextmanager
def azurite(command: str, folder: Path) -> Iterator[int]:
    """An Azure Blob server on loopback; gives its port.

    Args:
        command: the emulator.
        folder: where it keeps its blobs.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    address = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder)]
    options = ["--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    # A session of its own: the command is a shell script that starts node.
    with subprocess.Popen(
        [command, *address, *options], start_new_session=True, stdout=subprocess.DEVNULL
    ) as server:
        try:
            _await_port(port, server)
            yield port
        finally:
            os.killpg(server.pid, signal.SIGTERM)


def _await_port(port: int, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and server.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise RuntimeError(f"azurite did not begin to listen, exit code {server.poll()}")


def azure_bucket(port: int) -> Bucket:
    """A new container of the Azure Blob server at a port of this machine."""
    name, endpoint = f"lake-{uuid.uuid4().hex[:12]}", f"http://127.0.0.1:{port}/{ACCOUNT}"
    headers = {
        "x-ms-date": datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"),
        "x-ms-version": "2021-08-06",
    }
    canonical = "".join(f"{key}:{value}\n" for key, value in sorted(headers.items()))
    text = "PUT" + "\n" * 12 + f"{canonical}/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    signed = hmac.new(base64.b64decode(ACCOUNT_KEY), text.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(signed).decode()}"
    headers["Content-Length"] = "0"
    urlopen(Request(f"{endpoint}/{name}?restype=container", method="PUT", headers=headers)).close()
    storage = StorageSpec(endpoint=endpoint)
    return Bucket(uri=f"az://{name}", store=open_store(f"az://{name}", storage), storage=storage)
