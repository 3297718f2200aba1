"""A local S3 with conditional writes, and a proxy that loses, delays and refuses its responses."""

from __future__ import annotations

import logging
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from batchdeploy.core.deployment import PublishSpec
from batchdeploy.core.layout import Layout
from batchdeploy.errors import PublishError, StaleRunError
from batchdeploy.ports import TableAccess
from batchdeploy.publishing.opening import open_pointer_table
from batchdeploy.publishing.pointer_files import PointerFiles

sys.path[:0] = [str(Path(__file__).parents[1])]

from relay import Relay, serving  # noqa: E402

from faults.campaign import Known  # noqa: E402
from faults.oracle import content_of  # noqa: E402
from faults.publishing import manifest, plan, run_name, stage  # noqa: E402

BUCKET = "scores"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}
FOLDERS = ("date=2024-01-01", "date=2024-01-02")
FAULTS = ("answer lost", "409", "412", "503", "cut short")


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


@contextmanager
def faulty(port: int, *, share: float, seed: int) -> Iterator[tuple[int, Counter[str]]]:
    """A proxy that spoils this share of a server's responses; yields its port and the counts of faults."""
    fired: Counter[str] = Counter()
    random_ = random.Random(seed)
    # The fake S3 compares and swaps in two steps; the lock makes it one, as in S3.
    one_at_a_time = threading.Lock()

    class Proxy(Relay):
        def handle_one(self) -> None:
            body = self.body()
            fault = random_.choice(FAULTS) if random_.random() < share else ""
            conditional = "If-Match" in self.headers or "If-None-Match" in self.headers
            if fault in ("409", "412") and not (conditional and self.command == "PUT"):
                fault = "503"
            if fault in ("409", "412", "503"):
                fired[fault] += 1
                self.reply(int(fault), [], b"")
                return
            with one_at_a_time:
                status, headers, content = self.ask(port, body, seconds=30)
            if fault == "answer lost":
                fired[f"{fault} ({self.command})"] += 1
                self.break_off()
                return
            if fault == "cut short" and self.command == "GET" and len(content) > 1:
                fired[fault] += 1
                self.reply(status, headers, content, most=len(content) // 2)
                self.break_off()
                return
            self.reply(status, headers, content)

    with serving(Proxy) as listening:
        yield listening, fired


def object_commits(home: Path, *, commits: int, publishers: int, seed: int) -> dict[str, Any]:
    """Several processes publish two partitions through the faulty proxy until so many commits were told.

    Every commit raises the pointer's version by one and names the run it replaces: were one lost, doubled or
    mixed, the version, the chain of replaced runs, or the rows would not agree with what was told.
    """
    told: Counter[str] = Counter()
    replaced: Counter[str] = Counter()
    found: list[str] = []
    with s3() as port, faulty(port, share=0.15, seed=seed) as (front, fired):
        share = -(-commits // publishers)
        # NOTE: spawn, because the store's client has threads, which a fork would lose.
        children = [
            subprocess.Popen(
                [sys.executable, __file__, str(home / str(number)), *map(str, (front, number, share, seed))],
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(publishers)
        ]
        for child in children:
            lines = child.communicate()[0].splitlines()
            found += [f"a publisher ended with {child.returncode}"] if child.returncode else []
            for line in lines:
                word, *rest = line.split()
                told[word] += 1
                if word == "published":
                    replaced[" ".join(rest[1:])] += 1
        access = pointer_table(home / "reader", port)
        document = files_of(access).read().document
        if document["version"] != told["published"]:
            found.append(f"version {document['version']} after {told['published']} publishes were told")
        found += [f"{n} runs replaced {what}" for what, n in replaced.items() if n > 1]
        for folder in FOLDERS:
            rows = read_back(access, folder)
            if content_of(rows) != Known()[folder, document["partitions"][folder]["run_id"]]:
                found.append(f"{folder}: not the rows of its run")
    return {"seed": seed, "publishers": publishers, **told, "faults": dict(fired), "violations": found}


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


def commit(control: Path, port: int, number: int, share: int, seed: int) -> None:
    """Publishes until so many publishes went through, and tells each on stdout."""
    random_ = random.Random(f"{seed} {number}")
    access = pointer_table(control, port)
    done = step = 0
    while done < share:
        step += 1
        folder = random_.choice(FOLDERS)
        run = run_name(number * 100_000 + step)
        try:
            base_run = access.table.published_run(folder)
            publish_pointer(access, folder, run, base_run)
            print(f"published {run} {folder} {base_run}", flush=True)
            done += 1
        except StaleRunError:
            print("stale", flush=True)
        except PublishError as error:
            print(f"refused {error.problems[0].problem}", flush=True)


if __name__ == "__main__":
    commit(Path(sys.argv[1]), *map(int, sys.argv[2:6]))
