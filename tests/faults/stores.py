"""A local S3 with conditional writes, and tables in it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from batchdeploy.core.deployment import PublishSpec
from batchdeploy.core.layout import Layout
from batchdeploy.ports import TableAccess
from batchdeploy.publishing.opening import open_pointer_table
from batchdeploy.publishing.pointer_files import PointerFiles
from faults.publishing import manifest, plan, stage

BUCKET = "scores"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}


@contextmanager
def s3() -> Iterator[int]:
    """An S3 server on loopback with one bucket; yields its port."""
    import boto3

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        port = int(server.get_host_and_port()[1])
        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            region_name="us-east-1",
        )
        # NOTE: moto keeps buckets in this process, even from one server to the next.
        urlopen(Request(f"http://127.0.0.1:{port}/moto-api/reset", method="POST")).close()
        client.create_bucket(Bucket=BUCKET)
        yield port
    finally:
        server.stop()


def read_back(access: TableAccess, folder: str) -> Any:
    """The rows of the files that the pointer names."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    prefix = f"{files_of(access).target}/"
    storage = files_of(access).storage
    paths = [file.removeprefix(prefix) for file in access.table.files(folder)]
    with ExitStack() as opened:
        return pa.concat_tables(
            pq.read_table(opened.enter_context(storage.open_input(path))) for path in paths
        )


def pointer_table(control: Path, port: int, *, seconds: float = 60) -> TableAccess:
    """A table on the S3 server at a port; each publisher may be another machine with its own folder."""
    import os

    os.environ.update(ENVIRONMENT | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"})
    spec = PublishSpec(mode="pointer", durability="process", keep_generations=1, lock_seconds=seconds)
    return open_pointer_table(Layout(control), f"s3://{BUCKET}/churn", spec)


def files_of(access: TableAccess) -> PointerFiles:
    """The files behind a table that is published by pointer."""
    files: PointerFiles = access.table._files  # type: ignore[attr-defined]
    return files


def publish_pointer(access: TableAccess, folder: str, run: str, base_run: str | None) -> None:
    """Stages and publishes one run of one partition."""
    scored = stage(access, folder, run)
    try:
        access.publisher.publish(plan(folder, run, base_run), scored, lambda: manifest(run, scored, "2024"))
    finally:
        access.staging.discard(scored.attempt)
