"""Measures what pinning a partition of 10,000 objects takes beside the store's own listing of them.

The store is moto's S3 server on this machine. Prints the medians and writes benchmarks/results/stores.json.
In a bucket that keeps versions each object is asked about as well, because a listing of S3 does not tell
versions; moto answers those requests one after another, which S3 does not.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
sys.path[:0] = [str(REPOSITORY / "tests")]

from faults.stores import s3  # noqa: E402
from object_stores import CREDENTIALS, s3_bucket  # noqa: E402

from batchdeploy.adapters.sources.object_folder import ObjectFolderSource  # noqa: E402
from batchdeploy.core.deployment import DataRef, PartitionSpec  # noqa: E402


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    os.environ.update(CREDENTIALS)
    with s3() as port:
        figures = {
            kind: measure(port, arguments.objects, arguments.repeats, versions=kind == "versions")
            for kind in ("plain", "versions")
        }
    print(json.dumps(figures, indent=1))
    if arguments.objects == parser.get_default("objects"):
        target = REPOSITORY / "benchmarks" / "results" / "stores.json"
        target.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def measure(port: int, objects: int, repeats: int, *, versions: bool) -> dict[str, float]:
    """Seconds of listing and of pinning, and how often the one goes into the other."""
    import obstore
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    bucket, day = s3_bucket(port, versions=versions), "2024-01-01"
    # The server runs in this process; by requests, storing them would take a minute.
    for number in range(objects):
        key = f"flights/date={day}/part-{number:05}.parquet"
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(bucket.uri.removeprefix("s3://"), key, b"PAR1PAR1")
    ref = DataRef(path=f"{bucket.uri}/flights", partition=PartitionSpec(column="date"), keys=("id",))
    source = ObjectFolderSource(bucket.storage)
    listing, pinning = [], []
    for _ in range(repeats):
        listing.append(seconds(lambda: obstore.list(bucket.store, "flights").collect()))
        pinning.append(seconds(lambda: source.pin(ref, day)))
    listed, pinned = statistics.median(listing), statistics.median(pinning)
    return {"listing_s": round(listed, 3), "pinning_s": round(pinned, 3), "ratio": round(pinned / listed, 2)}


def seconds(do: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    do()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
