"""The flights from every source: the scores of a fortnight equal those of the local files, row by row.

The stores, tables and remotes are those that the other tests use, small ones, for each of these sources.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from dvc_projects import before, cached, clone, dvc, set_remote
from faults.stores import BUCKET, ENVIRONMENT
from flights_projects import FORTNIGHT, backfill, commit_all, deploy, make
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
