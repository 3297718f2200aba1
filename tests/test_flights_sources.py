"""The flights from every source: the scores of a fortnight equal those of the local files, row by row.

The stores, tables and remotes are those that the other tests use, small ones, for each of these sources.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flights_projects import FORTNIGHT, backfill, deploy, make
from object_stores import Bucket, new_bucket
from tests_support import Result

from batchdeploy.workflows import run_steps

pytestmark = [pytest.mark.trial, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

DAY = "2013-02-08"
ROWS = 12_222
PLANE = ["plane_year", "plane_seats"]


def part(root: Path, day: str) -> Path:
    """The file of a day."""
    return root / "data" / "flights" / f"date={day}" / "part-0.parquet"


def rows_of(root: Path, days: list[str] = FORTNIGHT) -> pa.Table:
    """The rows of some days, with the day as a date."""
    parts = []
    for day in days:
        rows = pq.read_table(part(root, day), partitioning=None)
        dates = pa.repeat(pa.scalar(datetime.date.fromisoformat(day)), len(rows))
        parts.append(rows.append_column("date", dates))
    return pa.concat_tables(parts)


def write_days(root: Path, folder: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> str:
    """Writes a copy of the fortnight with changed rows; gives its path in the project."""
    for day in FORTNIGHT:
        rows = pq.read_table(part(root, day), partitioning=None)
        table = pa.Table.from_pandas(change(rows.to_pandas()), preserve_index=False)
        target = root / folder / f"date={day}" / "part-0.parquet"
        target.parent.mkdir(parents=True)
        pq.write_table(table.select([n for n in rows.column_names if n in table.column_names]), target)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    make(root)
    return root


@pytest.fixture(scope="module")
def plain(made: Path) -> pd.DataFrame:
    """The scores of the local files."""
    frame = backfill(made, deploy(made, "plain"))
    assert len(frame) == ROWS
    return frame


def of(frame: pd.DataFrame, *days: str) -> pd.DataFrame:
    return frame[frame["date"].isin(days)].reset_index(drop=True)


@pytest.fixture(params=["S3 with versions", "S3", "Azure"])
def bucket(request: pytest.FixtureRequest, made: Path, store_credentials: None) -> Bucket:
    """A bucket with the fortnight."""
    found = new_bucket(request, request.param)
    for day in FORTNIGHT:
        found.put(f"lake/date={day}/part-0.parquet", part(made, day).read_bytes())
    return found


def in_bucket(bucket: Bucket, engine: dict[str, str]) -> Callable[[Any], None]:
    """Points a deployment at the bucket."""

    def change(document: Any) -> None:
        document["data"]["path"] = f"{bucket.uri}/lake"
        document["engine"] = engine
        document["storage"] = {"endpoint": str(bucket.storage.endpoint)}
        if bucket.storage.region is not None:
            document["storage"]["region"] = bucket.storage.region

    return change


SPARK = {"kind": "spark", "master": "local[2]"}


@pytest.mark.parametrize(
    "engine", [{"kind": "local"}, pytest.param(SPARK, marks=pytest.mark.jvm)], ids=["local", "spark"]
)
def test_a_fortnight_in_an_object_store(
    made: Path, plain: pd.DataFrame, bucket: Bucket, engine: dict[str, str]
) -> None:
    name = f"{bucket.uri.rpartition('/')[2]}-{engine['kind']}"
    frame = backfill(made, deploy(made, name, in_bucket(bucket, engine)))
    pd.testing.assert_frame_equal(frame, plain, check_exact=True)


def test_an_object_that_is_replaced_before_the_publish_is_refused_by_name(
    made: Path, bucket: Bucket, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{bucket.uri.rpartition('/')[2]}-replaced"
    file = deploy(made, name, in_bucket(bucket, {"kind": "local"}))
    measure = run_steps.measure_drift

    def meanwhile(*arguments: Any, **words: Any) -> Any:
        bucket.put(f"lake/date={DAY}/part-0.parquet", part(made, FORTNIGHT[0]).read_bytes())
        return measure(*arguments, **words)

    monkeypatch.setattr(run_steps, "measure_drift", meanwhile)
    done = cli("run", file, "-p", DAY)
    assert done.code == 2, done.err
    assert f"date={DAY}/part-0.parquet: changed" in done.err
    assert not (made / "scores" / name).exists()
