"""Tables in moto's S3 and in azurite, for publishers in processes of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from object_stores import CREDENTIALS, Bucket, azure_bucket, azurite, azurite_command, s3_bucket

from batchdeploy.core.deployment import PublishSpec
from batchdeploy.core.layout import CONTROL, Layout
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.ports import TableAccess
from batchdeploy.publishing.opening import open_pointer_table
from faults.stores import s3

STORES = ("S3", "Azure")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A table in a bucket of a server on this machine; other processes are given it.

    Attributes:
        uri: of the bucket.
        storage: how it is reached.
        table: the table's key.
    """

    uri: str
    storage: StorageSpec
    table: str = "churn"

    @classmethod
    def of(cls, bucket: Bucket) -> Place:
        """A table in a bucket."""
        return cls(uri=bucket.uri, storage=bucket.storage)

    @property
    def port(self) -> int:
        """Where the server listens."""
        return int(str(self.storage.endpoint).split(":")[2].partition("/")[0])

    @property
    def compares(self) -> bool:
        """Whether the server compares and swaps in one step, as the cloud's own does. moto does not."""
        return self.uri.startswith("az://")

    def through(self, port: int) -> Place:
        """The same table, reached through a proxy on this port."""
        endpoint = str(self.storage.endpoint).replace(f":{self.port}", f":{port}")
        return replace(self, storage=replace(self.storage, endpoint=endpoint))

    def open(self, home: Path) -> TableAccess:
        """The table and its control folder in the store, opened for publishing.

        Args:
            home: a folder of this machine; what lies in it may be lost.
        """
        os.environ.update(CREDENTIALS)
        spec = PublishSpec(mode="pointer", durability="process", keep_generations=1, reader_seconds=0)
        layout = Layout(home / self.table, f"{self.uri}/{self.table}{CONTROL}")
        return open_pointer_table(layout, f"{self.uri}/{self.table}", spec, stores=self.storage)


@contextmanager
def new_place(kind: str, folder: Path) -> Iterator[Place]:
    """A server with a bucket, for a long trial.

    Args:
        kind: one of `STORES`.
        folder: where azurite keeps its blobs.

    Raises:
        RuntimeError: azurite is not installed.
    """
    os.environ.update(CREDENTIALS)
    if kind == "S3":
        with s3() as port:
            yield Place.of(s3_bucket(port))
        return
    command = azurite_command()
    if command is None:
        raise RuntimeError("needs azurite-blob: bash .ci/azurite")
    with azurite(command, folder / "azurite") as port:
        yield Place.of(azure_bucket(port))
