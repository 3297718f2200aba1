"""The flights on a cluster that shares nothing with the driver but a store: a fortnight, row by row."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import obstore
import pandas as pd
import pytest
from flights_projects import FORTNIGHT, backfill, deploy, make
from object_stores import CREDENTIALS, Bucket, new_bucket
from spark_clusters import SeparateSpark, separate_spark
from store_tables import pointer, published_frame
from tests_support import SPARKS

pytestmark = [
    pytest.mark.trial,
    pytest.mark.slow,
    pytest.mark.jvm,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(1800),
]

ROWS = 12_222


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    make(root)
    return root


@pytest.fixture(scope="module")
def plain(made: Path) -> pd.DataFrame:
    """The scores of the local files, by the local engine."""
    frame = backfill(made, deploy(made, "plain"))
    assert len(frame) == ROWS
    return frame


@pytest.fixture(scope="module", params=SPARKS[1:])
def spark(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SeparateSpark]:
    with separate_spark(request.param, tmp_path_factory.mktemp("spark") / "logs", CREDENTIALS) as found:
        yield found


@pytest.fixture(params=["S3", "Azure"])
def bucket(request: pytest.FixtureRequest, made: Path, store_credentials: None) -> Bucket:
    """A bucket with the fortnight."""
    found = new_bucket(request, request.param)
    for day in FORTNIGHT:
        file = made / "data" / "flights" / f"date={day}" / "part-0.parquet"
        found.put(f"lake/date={day}/part-0.parquet", file.read_bytes())
    return found


def in_store(bucket: Bucket, spark: SeparateSpark) -> Callable[[Any], None]:
    """Points a deployment at the bucket, for everything, and at the cluster."""

    def change(document: Any) -> None:
        document["data"]["path"] = f"{bucket.uri}/lake"
        document["output"] |= {"path": f"{bucket.uri}/scores", "control": f"{bucket.uri}/scores.batchdeploy"}
        document["publish"] = {"mode": "pointer"}
        document["storage"] = {"endpoint": str(bucket.storage.endpoint)}
        if bucket.storage.region is not None:
            document["storage"]["region"] = bucket.storage.region
        document["engine"] = spark.engine

    return change


def start(root: Path, file: Path) -> subprocess.Popen[str]:
    """The backfill of the fortnight in a process of its own."""
    days = ["--from", FORTNIGHT[0], "--to", FORTNIGHT[-1]]
    command = [sys.executable, "-m", "batchdeploy", "backfill", str(file), *days]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def published_days(bucket: Bucket) -> list[str]:
    """The days that the pointer names."""
    try:
        return sorted(folder.partition("=")[2] for folder in pointer(bucket, "scores")["partitions"])
    except FileNotFoundError:
        return []


def in_order(bucket: Bucket) -> pd.DataFrame:
    """The published scores, in the order of their keys."""
    parts = [published_frame(bucket, "scores", f"date={day}").assign(date=day) for day in FORTNIGHT]
    frame = pd.concat(parts).drop(columns=["_run_id", "_scored_at"])
    return frame.sort_values(["date", "flight_id"], ignore_index=True)


def test_a_fortnight(made: Path, plain: pd.DataFrame, bucket: Bucket, spark: SeparateSpark) -> None:
    name = bucket.uri.rpartition("/")[2]
    done = start(made, deploy(made, name, in_store(bucket, spark)))
    said = done.communicate()
    assert done.returncode == 0, said
    assert published_days(bucket) == FORTNIGHT
    pd.testing.assert_frame_equal(in_order(bucket), plain, check_exact=True)
    assert not list((made / "scores").glob(f"{name}*"))


def test_a_worker_machine_that_goes_down_costs_a_retry_and_no_row(
    made: Path, plain: pd.DataFrame, bucket: Bucket, tmp_path: Path
) -> None:
    with separate_spark("standalone", tmp_path / "logs", CREDENTIALS) as spark:
        process = start(made, deploy(made, bucket.uri.rpartition("/")[2], in_store(bucket, spark)))
        while process.poll() is None and len(published_days(bucket)) < 3:
            time.sleep(0.2)
        # In the middle of a day: once one of its files is there.
        before = published_days(bucket)
        while process.poll() is None and not _being_written(bucket, before):
            time.sleep(0.01)
        assert process.poll() is None, process.communicate()
        assert spark.machines[-1].crash() > 1
        said = process.communicate()
    assert process.returncode == 0, said
    assert published_days(bucket) == FORTNIGHT
    pd.testing.assert_frame_equal(in_order(bucket), plain, check_exact=True)


def _being_written(bucket: Bucket, known: list[str]) -> bool:
    listed = obstore.list_with_delimiter(bucket.store, "scores/data")["common_prefixes"]
    return len(listed) > len(known)
