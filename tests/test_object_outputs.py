"""Whole runs with rows, scores and records in an object store: the scores are those of a local run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faults.stores import read_back
from object_stores import Bucket, new_bucket, s3_bucket
from store_proxy import store_proxy
from test_object_stores import DAYS, SCORES, point_at, scores_of, upload

from batchdeploy.assembly import LocalToolbox, open_toolbox
from batchdeploy.errors import BatchdeployError, ScoringRefused
from batchdeploy.workflows.run import run as run_partition

pytestmark = pytest.mark.slow

POLICY = "policy: {ranges: {age: [0, 85]}}\nquarantine: {max_share: 0.5}\npublish: {mode: pointer}\n"


def in_store(deployment: Path, bucket: Bucket) -> LocalToolbox:
    """The deployment with its rows, its table and its control folder in a bucket; it quarantines rows."""
    file = point_at(deployment, bucket, "scores/remote").file
    text = file.read_text(encoding="utf-8")
    table = f"{bucket.uri}/scores\n  control: {bucket.uri}/scores.batchdeploy"
    file.write_text(text.replace("path: scores/remote", f"path: {table}") + POLICY, encoding="utf-8")
    return open_toolbox(file)


def keys(bucket: Bucket, prefix: str) -> list[str]:
    import obstore

    return sorted(entry["path"] for chunk in obstore.list(bucket.store, prefix) for entry in chunk)


def published(tools: LocalToolbox, day: str) -> pd.DataFrame:
    frame: pd.DataFrame = read_back(tools.publishing, f"date={day}").to_pandas()
    return frame[SCORES].sort_values("customer_id", ignore_index=True)


@pytest.mark.parametrize("kind", ["S3", "Azure"])
def test_scores_are_those_of_a_local_run(
    project: Path, deployment: Path, store_credentials: None, request: pytest.FixtureRequest, kind: str
) -> None:
    bucket = new_bucket(request, kind)
    upload(bucket, project / "data" / "customers")
    local = deployment.with_name("here.yaml")
    text = deployment.read_text(encoding="utf-8").replace("scores/churn", "scores/here")
    local.write_text(text + POLICY.replace("pointer", "swap"), encoding="utf-8")
    here, remote = open_toolbox(local), in_store(deployment, bucket)
    for day in DAYS:
        run_partition(here, day)
        outcome = run_partition(remote, day)
    found = pd.concat(published(remote, day) for day in DAYS)
    pd.testing.assert_frame_equal(
        scores_of(here), found.sort_values("customer_id", ignore_index=True), check_dtype=True
    )
    kept = keys(bucket, f"scores.batchdeploy/quarantine/date={DAYS[1]}/{outcome.manifest.run_id}")
    rows = [pq.read_metadata(pa.BufferReader(content(bucket, key))).num_rows for key in kept]
    assert sum(rows) == outcome.manifest.rows_quarantined > 0
    assert keys(bucket, "scores.batchdeploy/staging") == []
    assert len(keys(bucket, "scores/data")) == len(DAYS)
    assert not list(remote.layout.control.rglob("*.parquet"))
    assert run_partition(remote, DAYS[0]).status == "identical"


def content(bucket: Bucket, key: str) -> bytes:
    import obstore

    return bytes(obstore.get(bucket.store, key).bytes())


def test_a_run_that_a_gate_refuses_leaves_its_evidence_and_no_scores(
    project: Path, deployment: Path, s3_port: int, store_credentials: None
) -> None:
    bucket = s3_bucket(s3_port)
    upload(bucket, project / "data" / "customers")
    tools = in_store(deployment, bucket)
    tools.file.write_text(tools.file.read_text("utf-8").replace("0.5}", "0.0}"), encoding="utf-8")
    with pytest.raises(ScoringRefused, match="rows quarantined"):
        run_partition(open_toolbox(tools.file), DAYS[1])
    assert keys(bucket, "scores") == []
    assert keys(bucket, "scores.batchdeploy/staging") == []
    assert [key for key in keys(bucket, "scores.batchdeploy/runs") if key.endswith(".parquet")]


@pytest.mark.parametrize("place", ["scores/data", "scores.batchdeploy/staging"])
def test_a_store_that_refuses_scores_is_told_in_one_message(
    project: Path, deployment: Path, s3_port: int, store_credentials: None, place: str
) -> None:
    bucket = s3_bucket(s3_port)
    upload(bucket, project / "data" / "customers")
    with store_proxy(s3_port) as proxy:
        tools = in_store(deployment, bucket.through(proxy.port))
        proxy.fault, proxy.matching = 403, f"^(PUT|POST) .*{place}"
        proxy.body = "<Error><Code>AccessDenied</Code><AWSAccessKeyId>AKIA-OF-SOMEBODY"
        with pytest.raises(BatchdeployError) as refused:
            run_partition(tools, DAYS[0])
    assert refused.value.exit_code == 3
    assert place.partition("/")[0] in str(refused.value)
    assert "AKIA" not in str(refused.value)
    assert keys(bucket, "scores") == []
