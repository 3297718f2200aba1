"""Whole runs on rows in an object store: the scores of the local files, or a refusal by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from object_stores import Bucket, new_bucket, s3_bucket
from store_proxy import store_proxy

import batchdeploy as bd
from batchdeploy.assembly import LocalToolbox, open_toolbox
from batchdeploy.core.records import Plan
from batchdeploy.errors import DataError
from batchdeploy.workflows import run_steps
from batchdeploy.workflows.plan import plan as plan_partition
from batchdeploy.workflows.run import run as run_partition

pytestmark = pytest.mark.slow

DAYS = ("2024-03-01", "2024-03-02")
SCORES = ["customer_id", "churn_probability", "city", "_model_version"]


def upload(bucket: Bucket, data: Path) -> None:
    for file in sorted(data.rglob("*.parquet")):
        bucket.put(f"lake/{file.relative_to(data)}", file.read_bytes())


def point_at(deployment: Path, bucket: Bucket, table: str) -> LocalToolbox:
    """The deployment with its rows in a bucket, and a table of its own."""
    text = deployment.read_text(encoding="utf-8")
    text = text.replace("path: data/customers", f"path: {bucket.uri}/lake").replace("scores/churn", table)
    region = f", region: {bucket.storage.region}" if bucket.storage.region else ""
    text += f"storage: {{endpoint: '{bucket.storage.endpoint}'{region}}}\n"
    file = deployment.with_name(f"{table.replace('/', '-')}.yaml")
    file.write_text(text, encoding="utf-8")
    return open_toolbox(file)


def scores_of(tools: LocalToolbox) -> pd.DataFrame:
    files = sorted(tools.layout.table.rglob("*.parquet"))
    frame = pd.concat(pq.ParquetFile(file).read().to_pandas() for file in files)
    return frame[SCORES].sort_values("customer_id", ignore_index=True)


@pytest.fixture(params=["S3", "S3 with versions", "Azure"])
def bucket(request: pytest.FixtureRequest, store_credentials: None) -> Bucket:
    return new_bucket(request, request.param)


def test_scores_are_those_of_the_local_files(project: Path, deployment: Path, bucket: Bucket) -> None:
    upload(bucket, project / "data" / "customers")
    local, remote = open_toolbox(deployment), point_at(deployment, bucket, "scores/remote")
    for day in DAYS:
        run_partition(local, day)
        run_partition(remote, day)
    pd.testing.assert_frame_equal(scores_of(local), scores_of(remote))
    assert len(scores_of(remote)) == 400
    planned = plan_partition(remote, DAYS[0])
    assert planned.state == "identical"
    assert planned.data.files[0].location.startswith(bucket.uri)
    assert run_partition(remote, DAYS[0]).status == "identical"


def replace_object(bucket: Bucket, project: Path) -> None:
    other = project / "data" / "customers" / f"date={DAYS[1]}" / "part-0.parquet"
    bucket.put(f"lake/date={DAYS[0]}/part-0.parquet", other.read_bytes())


def delete_object(bucket: Bucket, project: Path) -> None:
    import obstore

    obstore.delete(bucket.store, f"lake/date={DAYS[0]}/part-0.parquet")


@pytest.mark.parametrize("change", [replace_object, delete_object])
@pytest.mark.parametrize("step", ["validate", "score", "measure_drift", "publish"])
@pytest.mark.parametrize("versions", [False, True])
def test_an_object_that_changes_before_the_publish_is_refused_by_name(
    project: Path,
    deployment: Path,
    s3_port: int,
    store_credentials: None,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Bucket, Path], None],
    step: str,
    versions: bool,
) -> None:
    bucket = s3_bucket(s3_port, versions=versions)
    upload(bucket, project / "data" / "customers")
    tools = point_at(deployment, bucket, "scores/remote")
    do = getattr(run_steps, f"step_{'drift' if step == 'measure_drift' else step}")

    def changed(*arguments: Any, **options: Any) -> Any:
        change(bucket, project)
        return do(*arguments, **options)

    monkeypatch.setattr(f"batchdeploy.workflows.run.{do.__name__}", changed)
    with pytest.raises(DataError, match=rf"date={DAYS[0]}/part-0\.parquet: (changed|was deleted)"):
        run_partition(tools, DAYS[0])
    assert not tools.layout.table.exists()


def test_a_run_reads_the_wanted_partition_only(
    project: Path, deployment: Path, s3_port: int, store_credentials: None
) -> None:
    bucket = s3_bucket(s3_port)
    upload(bucket, project / "data" / "customers")
    with store_proxy(s3_port) as proxy:
        tools = point_at(deployment, bucket.through(proxy.port), "scores/remote")
        run_partition(tools, DAYS[0])
        read = [asked for asked in proxy.asked if ".parquet" in asked.path and asked.method == "GET"]
    assert read
    assert all(f"date%3D{DAYS[0]}" in asked.path or f"date={DAYS[0]}" in asked.path for asked in read)


def test_a_plan_says_where_its_objects_are_and_holds_no_secret(
    project: Path, deployment: Path, s3_port: int, store_credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI-very-secret")
    bucket = s3_bucket(s3_port)
    upload(bucket, project / "data" / "customers")
    tools = point_at(deployment, bucket, "scores/remote")
    outcome = run_partition(tools, DAYS[0])
    texts = [file.read_text("utf-8") for file in outcome.folder.rglob("*.json")]
    assert any(bucket.uri in text and str(bucket.storage.endpoint) in text for text in texts)
    assert not any("very-secret" in text for text in texts)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("storage: {endpoint: 'http://user:pass@127.0.0.1:1'}", "storage.endpoint: holds credentials"),
        ("storage: {endpoint: 'somewhere'}", "storage.endpoint: is not the URL of a store"),
        ("storage: {secret: x}", "storage.secret"),
    ],
)
def test_a_storage_block_holds_no_secret_and_no_unknown_key(
    deployment: Path, block: str, expected: str
) -> None:
    deployment.write_text(f"{deployment.read_text('utf-8')}{block}\n", encoding="utf-8")
    with pytest.raises(bd.RequestError, match=expected):
        open_toolbox(deployment)


def test_a_file_uri_is_a_local_folder(project: Path, deployment: Path) -> None:
    elsewhere = project.parent / "a b%20é"
    (project / "data" / "customers").rename(elsewhere)
    text = deployment.read_text("utf-8").replace("data/customers", elsewhere.as_uri())
    deployment.write_text(text, encoding="utf-8")
    tools = open_toolbox(deployment)
    assert run_partition(tools, DAYS[0]).manifest.rows_scored == 200
    planned: Plan = plan_partition(tools, DAYS[0])
    assert planned.data.files[0].location == str(elsewhere / f"date={DAYS[0]}" / "part-0.parquet")
