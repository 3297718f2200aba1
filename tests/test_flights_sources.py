"""The flights from every source: the scores of a fortnight equal those of the local files, row by row.

The stores, tables and remotes are those that the other tests use, small ones, for each of these sources.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dvc_projects import before, cached, clone, dvc, set_remote
from faults.stores import BUCKET, ENVIRONMENT
from flights_projects import FORTNIGHT, backfill, commit_all, deploy, make
from lakehouse_tables import add_delete_file, add_deletion_vector, iceberg_catalog
from object_stores import Bucket, new_bucket
from tests_support import Result

from batchdeploy.workflows import run_steps

pytestmark = [pytest.mark.trial, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

DAY = "2013-02-08"
ROWS = 12_222


def part(root: Path, day: str) -> Path:
    """The file of a day."""
    return root / "data" / "flights" / f"date={day}" / "part-0.parquet"


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


def rows_of(root: Path) -> pa.Table:
    """The rows of the fortnight, with the day as a date."""
    parts = []
    for day in FORTNIGHT:
        rows = pq.read_table(part(root, day), partitioning=None)
        dates = pa.repeat(pa.scalar(datetime.date.fromisoformat(day)), len(rows))
        parts.append(rows.append_column("date", dates))
    return pa.concat_tables(parts)


class Delta:
    """A Delta table of the fortnight."""

    format, first = "delta", 0

    def __init__(self, folder: Path, rows: pa.Table, _: pytest.MonkeyPatch) -> None:
        from deltalake import write_deltalake

        self.path = str(folder / "delta")
        write_deltalake(self.path, rows, partition_by=["date"])

    def change(self) -> None:
        """Deletes the rows of one carrier on the day, and updates those of another."""
        from deltalake import DeltaTable

        day = f"date = '{DAY}'"
        DeltaTable(self.path).delete(f"{day} and carrier = 'UA'")
        DeltaTable(self.path).update({"sched_dep_minute": "60"}, predicate=f"{day} and carrier = 'B6'")

    def mark_deleted(self) -> str:
        """Deletes rows of the day by a deletion vector; gives the path of the table."""
        add_deletion_vector(Path(self.path), [0, 1, 2])
        return self.path


class Iceberg:
    """An Iceberg table of the fortnight, in a catalog that the environment names."""

    format, path = "iceberg", "lake.crm.flights"

    def __init__(self, folder: Path, rows: pa.Table, patch: pytest.MonkeyPatch) -> None:
        catalog = iceberg_catalog(folder / "iceberg")
        patch.setenv("PYICEBERG_CATALOG__LAKE__URI", catalog.properties["uri"])
        patch.setenv("PYICEBERG_CATALOG__LAKE__TYPE", "sql")
        self._table = catalog.create_table("crm.flights", schema=rows.schema)
        with self._table.update_spec() as spec:
            spec.add_identity("date")
        self._table.append(rows)
        self.first = self._table.current_snapshot().snapshot_id

    def change(self) -> None:
        """Deletes the rows of one carrier on the day, and overwrites those of another."""
        day = f"date = '{DAY}'"
        self._table.delete(f"{day} and carrier = 'UA'")
        changed = self._table.scan(f"{day} and carrier = 'B6'").to_arrow()
        index = changed.schema.get_field_index("sched_dep_minute")
        field = changed.schema.field(index)
        minutes = pa.array(np.full(len(changed), 60), field.type)
        self._table.overwrite(changed.set_column(index, field, minutes), f"{day} and carrier = 'B6'")

    def mark_deleted(self) -> str:
        """Deletes rows of the day by an equality delete; gives the path of the table's metadata."""
        field = self._table.schema().find_field("flight_id")
        days = (datetime.date.fromisoformat(DAY) - datetime.date(1970, 1, 1)).days
        gone = pa.table({"flight_id": [f"{DAY.replace('-', '')}-none"]})
        return add_delete_file(self._table, gone, equality_ids=[field.field_id], partition=(days,))


def changed_copy(root: Path, folder: str) -> str:
    """The files of the fortnight after the tables' changes; gives the folder."""
    for day in FORTNIGHT:
        rows = pq.read_table(part(root, day), partitioning=None)
        if day == DAY:
            frame = rows.to_pandas()
            frame = frame[frame["carrier"] != "UA"]
            frame.loc[frame["carrier"] == "B6", "sched_dep_minute"] = 60
            rows = pa.Table.from_pandas(frame, schema=rows.schema, preserve_index=False)
        target = root / folder / f"date={day}" / "part-0.parquet"
        target.parent.mkdir(parents=True)
        pq.write_table(rows, target)
    return folder


def at_version(path: str, kind: Any, version: int | None) -> Callable[[Any], None]:
    """Points a deployment at a version of a table; None for the newest."""

    def change(document: Any) -> None:
        document["data"] |= {"path": path, "format": kind.format, "rev": version}

    return change


@pytest.mark.parametrize("kind", [Delta, Iceberg])
def test_a_table_at_each_version_has_the_rows_of_parquet(
    made: Path,
    plain: pd.DataFrame,
    tmp_path: Path,
    cli: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    kind: Any,
) -> None:
    table, name = kind(tmp_path, rows_of(made), monkeypatch), kind.format
    frame = backfill(made, deploy(made, f"{name}-before", at_version(table.path, kind, None)))
    pd.testing.assert_frame_equal(frame, plain, check_exact=True)

    table.change()
    folder = changed_copy(made, f"data/changed-{name}")
    deployment = deploy(made, f"{name}-expected", lambda document: document["data"].update(path=folder))
    expected = backfill(made, deployment)
    assert 0 < len(of(expected, DAY)) < len(of(plain, DAY))
    new = backfill(made, deploy(made, f"{name}-new", at_version(table.path, kind, None)))
    pd.testing.assert_frame_equal(new, expected, check_exact=True)
    old = backfill(made, deploy(made, f"{name}-old", at_version(table.path, kind, table.first)))
    pd.testing.assert_frame_equal(old, plain, check_exact=True)
    both = of(plain, DAY).merge(of(new, DAY), on="flight_id")
    other = both["late_probability_x"] != both["late_probability_y"]
    assert set(both.loc[other, "carrier_x"]) == {"B6"}

    marked = deploy(made, f"{name}-marked", at_version(table.mark_deleted(), kind, None))
    refused = cli("run", marked, "-p", DAY)
    assert refused.code == 2, refused.err
    assert "plain Parquet would show rows that were deleted" in refused.err
    assert not (made / "scores" / f"{name}-marked").exists()


@pytest.mark.parametrize("remote", ["s3", "local", "above"])
def test_a_bare_clone_scores_the_commit_before_and_fetches_one_day(
    made: Path,
    plain: pd.DataFrame,
    tmp_path: Path,
    s3_port: int,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
    remote: str,
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{made / 'mlflow.db'}")
    root = tmp_path / "project"
    shutil.copytree(made, root, ignore=shutil.ignore_patterns("scores", "mlartifacts", "mlflow.db"))
    if remote == "above":
        (root / "dvc.yaml").unlink()
        (root / "dvc.lock").unlink()
        ignored = (root / ".gitignore").read_text().replace("/data/\n", "")
        (root / ".gitignore").write_text(ignored)
    # DVC looks for a stage in the working directory.
    monkeypatch.chdir(root)
    with before(s3_port) as proxy:
        if remote == "s3":
            set_remote(root, f"s3://{BUCKET}/{tmp_path.name}", endpointurl=f"http://127.0.0.1:{proxy.port}")
        else:
            set_remote(root, "../../the store")
        record(root, above=remote == "above")
        pinned = {md5(part(root, DAY)): part(root, DAY).stat().st_size}
        reference = root / "data" / "reference" / "flights.json"
        rows = pd.read_parquet(part(root, DAY))
        part(root, DAY).unlink()
        rows.head(400).to_parquet(part(root, DAY), index=False)
        record(root, above=remote == "above")
        proxy.requests.clear()
        bare = clone(root, tmp_path / "bare")
        assert not (bare / "data").exists()
        file = deploy(bare, "bare", lambda document: document["data"].update(rev="HEAD~1"))
        frame = backfill(bare, file, [DAY])
    pd.testing.assert_frame_equal(frame, of(plain, DAY), check_exact=True)
    plan = json.loads(next((bare / "scores").rglob("plan.json")).read_text())["data"]
    assert {found["md5"]: found["size"] for found in plan["files"]} == pinned
    objects = {oid: bare / ".dvc" / "cache" / "files" / "md5" / oid[:2] / oid[2:] for oid in cached(bare)}
    fetched = {oid: path.stat().st_size for oid, path in objects.items()}
    listings = {oid: size for oid, size in fetched.items() if oid.endswith(".dir")}
    expected = pinned | {md5(reference): reference.stat().st_size}
    assert {oid: size for oid, size in fetched.items() if oid not in listings} == expected
    if remote == "s3":
        assert proxy.objects == fetched
    record_property("bytes", {"day": pinned, "fetched": fetched})


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()


def record(root: Path, *, above: bool) -> None:
    """Commits the data as they are, and pushes what a scoring run needs."""
    needed = ["data"] if above else ["data/flights", "data/reference/flights.json"]
    with dvc(root) as repo:
        if above:
            repo.add(str(root / "data"))
        else:
            repo.commit("prepare", force=True)
        repo.push([str(root / name) for name in needed])
    commit_all(root, "rows")
