"""Spark on machines that share nothing with the driver but the network; what a run needs lies in a store."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import DAYS
from namespaces import REPOSITORY
from object_stores import CREDENTIALS, Bucket, s3_bucket
from pyspark import cloudpickle
from ruamel.yaml import YAML
from spark_clusters import SeparateSpark, separate_spark
from store_tables import keys, pointer, published_frame
from tests_support import SPARKS, published_scores

from batchdeploy.adapters.engines.spark import SparkEngine
from batchdeploy.assembly import LocalToolbox, open_toolbox
from batchdeploy.errors import RequestError
from batchdeploy.workflows.run import run as run_partition

pytestmark = [pytest.mark.jvm, pytest.mark.slow]


@pytest.fixture(scope="module", params=SPARKS[1:])
def spark(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SeparateSpark]:
    """A cluster or a Connect server, for all tests of this file."""
    folder = tmp_path_factory.mktemp("spark") / request.param
    with separate_spark(request.param, folder, CREDENTIALS) as found:
        yield found


@pytest.fixture(scope="module")
def engine(spark: SeparateSpark) -> Iterator[SparkEngine]:
    """One session on it."""
    conf: Any = spark.engine.get("conf", {})
    found = SparkEngine(spark.url, conf)
    yield found
    found.close()


def test_workers_see_neither_the_project_nor_each_other(
    spark: SeparateSpark, engine: SparkEngine, project: Path
) -> None:
    """A task looks for the project, and leaves a file where the driver and the other workers would look."""
    looked_for = [str(project), str(REPOSITORY / "batchdeploy"), str(Path(__file__))]
    left = Path(tempfile.gettempdir()) / f"left-by-{os.getpid()}"
    text = str(left)

    def look(frames: Iterator[Any]) -> Iterator[Any]:
        import pandas as pd

        namespace = os.readlink("/proc/self/ns/mnt")
        for frame in frames:
            time.sleep(0.3)
            seen = [path for path in looked_for if os.path.exists(path)]
            if os.path.exists(text):
                with open(text) as stream:
                    seen += [f"a file of {found}" for found in {stream.read()} - {namespace}]
            with open(text, "w") as stream:
                stream.write(namespace)
            yield pd.DataFrame(
                {"namespace": [namespace] * len(frame), "seen": [", ".join(seen)] * len(frame)}
            )

    rows = engine._spark().range(0, 8, 1, 8).mapInPandas(look, "namespace string, seen string").collect()
    assert {row.seen for row in rows} == {""}
    workers = spark.machines[-2:]
    assert {row.namespace for row in rows} == {worker.namespace for worker in workers}
    assert os.readlink("/proc/self/ns/mnt") not in {worker.namespace for worker in workers}
    assert project.exists()
    assert not left.exists()


DAY = DAYS[1]
FOLDER = f"date={DAY}"
PARTS = 4


@pytest.fixture
def bucket(project: Path, s3_port: int, store_credentials: None) -> Bucket:
    """A bucket with the day's rows, in several files."""
    found = s3_bucket(s3_port)
    rows = pq.read_table(project / "data" / "customers" / FOLDER, partitioning=None)
    size = len(rows) // PARTS
    for number in range(PARTS):
        found.put(f"lake/{FOLDER}/part-{number}.parquet", rows.slice(number * size, size))
    return found


def in_store(
    deployment: Path, bucket: Bucket, spark: SeparateSpark, change: Callable[[Any], None] = lambda _: None
) -> Path:
    """The deployment with rows, scores and records in the bucket, on this Spark."""
    yaml = YAML()
    document = yaml.load(deployment)
    document["data"]["path"] = f"{bucket.uri}/lake"
    document["output"] |= {"path": f"{bucket.uri}/scores", "control": f"{bucket.uri}/scores.batchdeploy"}
    document["publish"] = {"mode": "pointer"}
    document["storage"] = {"endpoint": bucket.storage.endpoint, "region": bucket.storage.region}
    document["engine"] = spark.engine
    change(document)
    file = deployment.with_name("remote.yaml")
    yaml.dump(document, file)
    return file


def opened(file: Path, engine: SparkEngine) -> LocalToolbox:
    """The toolbox of a deployment on a session that exists."""
    tools = open_toolbox(file)
    tools.spark = engine
    return tools


def test_scores_are_those_of_a_local_run(
    plain: Path, deployment: Path, bucket: Bucket, spark: SeparateSpark, engine: SparkEngine
) -> None:
    file = in_store(deployment, bucket, spark)
    outcome = run_partition(opened(file, engine), DAY)
    assert outcome.status == "published"
    found = published_frame(bucket, "scores", FOLDER).sort_values("customer_id", ignore_index=True)
    pd.testing.assert_frame_equal(found.drop(columns=["_run_id", "_scored_at"]), published_scores(plain))
    assert len(found) == 200
    assert run_partition(opened(file, engine), DAY).status == "identical"


def test_a_worker_that_dies_costs_a_retry_and_no_row(
    plain: Path,
    deployment: Path,
    bucket: Bucket,
    spark: SeparateSpark,
    engine: SparkEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After it has stored a split's rows, and before it could say so."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    tools = opened(in_store(deployment, bucket, spark), engine)
    mark, worker = Path(tempfile.gettempdir()) / f"died-{spark.machines[0].pid}", tools.scorer.worker
    monkeypatch.setattr(tools.scorer, "worker", lambda job: DiesOnce(worker(job), str(mark)))
    outcome = run_partition(tools, DAY)
    deaths = [machine.run("cat", mark).stdout for machine in spark.machines]
    assert "2" in deaths
    assert not mark.exists()
    assert outcome.manifest.rows_scored == 200
    found = published_frame(bucket, "scores", FOLDER).sort_values("customer_id", ignore_index=True)
    pd.testing.assert_frame_equal(found.drop(columns=["_run_id", "_scored_at"]), published_scores(plain))
    tools.publishing.maintenance.collect_garbage(now=time.time() + 30 * 86_400)
    entry = pointer(bucket, "scores")["partitions"][FOLDER]
    assert keys(bucket, "scores/data") == sorted(f"scores/{file['path']}" for file in entry["files"])


class DiesOnce:
    """Scores a split; after the third one it takes its process with it, the first time on each machine."""

    def __init__(self, work: Any, mark: str) -> None:
        self.work, self.mark = work, mark

    def __call__(self, split: Any) -> Any:
        found = self.work(split)
        if split.index == 2:
            try:
                with open(self.mark, "x") as stream:
                    stream.write(str(split.index))
            except FileExistsError:
                return found
            os.kill(os.getpid(), signal.SIGKILL)
        return found


@pytest.mark.parametrize("mode", ["swap", "pointer"])
def test_a_table_in_a_folder_that_workers_do_not_see_is_refused_before_the_first_task(
    deployment: Path,
    bucket: Bucket,
    spark: SeparateSpark,
    engine: SparkEngine,
    mode: str,
) -> None:
    def local(document: Any) -> None:
        document["output"] |= {"path": "scores/hidden", "control": None}
        document["publish"] = {"mode": mode}

    file = in_store(deployment, bucket, spark, local)
    before = keys(bucket)
    with pytest.raises(RequestError) as refused:
        run_partition(opened(file, engine), DAY)
    said = str(refused.value)
    assert refused.value.exit_code == 2
    assert "scores/hidden.batchdeploy" in said
    assert "in the workers" in said
    assert len(said.splitlines()) < 10
    table = deployment.parents[1] / "scores" / "hidden"
    assert not list(table.parent.rglob("*.parquet"))
    assert keys(bucket) == before
