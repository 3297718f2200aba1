"""A standalone cluster, and a Connect server; the workers of neither have batchdeploy installed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import DAYS
from pyspark import cloudpickle
from score_jobs import folders_in
from spark_clusters import engine_on
from tests_support import SPARKS

from batchdeploy.adapters.engines.spark import SparkEngine
from batchdeploy.adapters.parquet_splits.worker_access import access_problems
from batchdeploy.assembly import LocalToolbox, open_toolbox, records_in
from batchdeploy.core.records import ScoredBatch
from batchdeploy.core.work import AttemptFolders, Split, WorkerCheck
from batchdeploy.errors import RequestError
from batchdeploy.workflows.run import run as run_partition

pytestmark = [pytest.mark.jvm, pytest.mark.slow]


@pytest.fixture(scope="module", params=SPARKS[1:])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkEngine]:
    """One session for all tests of either."""
    with engine_on(request.param, tmp_path_factory.mktemp(request.param)) as engine:
        yield engine


def without_java(folder: Path) -> dict[str, str]:
    """An environment in which no Java is to be found."""
    tools = folder / "bin"
    tools.mkdir()
    for name in ("env", "bash", "sh"):
        (tools / name).symlink_to(str(shutil.which(name)))
    environment = {key: value for key, value in os.environ.items() if key != "JAVA_HOME"}
    environment["PATH"] = str(tools)
    assert shutil.which("java", path=environment["PATH"]) is None
    return environment


def run(deployment: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "batchdeploy", "run", str(deployment), "--partition", "2024-03-02"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture
def tools(deployment: Path, engine: SparkEngine) -> LocalToolbox:
    """The project's toolbox on either."""
    deployment.write_text(deployment.read_text().replace("kind: local", "kind: spark"))
    box = open_toolbox(deployment)
    box.spark = engine
    return box


def test_workers_are_sent_all_they_need_and_load_the_model_once_each(tools: LocalToolbox) -> None:
    loads, workers, rows = 0, set(), 0
    for day in DAYS[:2]:
        outcome = run_partition(tools, day)
        scored = records_in(outcome.folder).read("", ScoredBatch)
        loads += scored.model_loads
        workers |= set(scored.workers)
        rows += scored.rows_scored
    assert rows == 400
    assert loads == len(workers) > 0
    table = pd.read_parquet(tools.layout.table)
    assert len(table) == table["customer_id"].nunique() == rows


def test_a_worker_that_dies_in_mid_job_costs_a_retry_and_no_row(
    tools: LocalToolbox, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    day = project / "data" / "customers" / f"date={DAYS[1]}"
    rows = pq.read_table(next(day.glob("*.parquet")))
    for file in day.glob("*.parquet"):
        file.unlink()
    for number in range(4):
        pq.write_table(rows.slice(number * 50, 50), day / f"part-{number}.parquet")
    mark, worker = project / "died", tools.scorer.worker
    monkeypatch.setattr(tools.scorer, "worker", lambda job: DiesOnce(worker(job), str(mark)))
    outcome = run_partition(tools, DAYS[1])
    assert mark.read_text() == "2"
    found = pd.read_parquet(tools.layout.partition_dir(f"date={DAYS[1]}"))
    assert sorted(found["customer_id"]) == sorted(rows["customer_id"].to_pylist())
    assert outcome.manifest.rows_scored == 200


class DiesOnce:
    """Scores a split; after the third one it takes its process with it, the first time."""

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


def test_workers_are_sent_the_local_tables_of_lookups(
    tools: LocalToolbox, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validated and scored although the tables are nowhere while the workers read."""
    file, day = project / "dags" / "churn.yaml", project / "data" / "customers" / f"date={DAYS[1]}"
    table = project / "data" / "profiles.parquet"
    for rows in day.glob("*.parquet"):
        held = pq.read_table(rows, partitioning=None)
        pq.write_table(held.select(["customer_id", "income"]), table)
        pq.write_table(held.drop_columns(["income"]), rows)
    lookup = "lookups: [{path: data/profiles.parquet, keys: [customer_id], columns: [income]}]"
    file.write_text(file.read_text().replace("  keys:", f"  {lookup}\n  keys:"))
    box = open_toolbox(file)
    box.spark = tools.spark
    box.reader.one_machine_cells = 0
    engine, reader, hidden = box.spark, box.reader, list[str]()

    @contextmanager
    def elsewhere(what: str) -> Iterator[None]:
        away = table.rename(table.with_suffix(".away"))
        yield
        away.rename(table)
        hidden.append(what)

    @contextmanager
    def frame(*arguments: Any) -> Iterator[Any]:
        with given_frame(*arguments) as found, elsewhere("validation"):
            yield found

    def map_splits(work: Any, splits: Any) -> list[Any]:
        with elsewhere("scoring"):
            return list(given_map(work, splits))

    given_frame, given_map = reader.frame, engine.map_splits
    monkeypatch.setattr(reader, "frame", frame)
    monkeypatch.setattr(engine, "map_splits", map_splits)
    outcome = run_partition(box, DAYS[1])
    assert outcome.manifest.rows_scored == 200
    assert hidden == ["validation", "scoring"]


def test_workers_with_other_versions_than_the_model_are_refused_in_one_message(
    tools: LocalToolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"python": "3.8.20", "scikit-learn": "0.24.2", "no-such-package": "1.0"}
    monkeypatch.setattr(tools.registry, "package_versions", lambda folder: wanted)
    with pytest.raises(RequestError) as refused:
        run_partition(tools, DAYS[0])
    said = str(refused.value)
    assert all(name in said for name in wanted)
    assert socket.gethostname() in said
    assert not tools.layout.table.exists()


def test_workers_that_do_not_see_the_attempts_folder_are_refused_before_any_task(
    tools: LocalToolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = replace(folders_in("/no/disk/of/this/worker"), name="one")

    def on_no_common_disk(folders: AttemptFolders, splits: Sequence[Split]) -> WorkerCheck:
        return WorkerCheck(place="nowhere", run=partial(access_problems, elsewhere, "x", splits[0]))

    monkeypatch.setattr(tools.scorer, "access_check", on_no_common_disk)
    monkeypatch.setattr(tools.scorer, "worker", lambda job: pytest.fail("no task must start"))
    with pytest.raises(RequestError) as refused:
        run_partition(tools, DAYS[0])
    said = str(refused.value)
    assert f"{socket.gethostname()}: cannot use /no/disk/of/this/worker: " in said
    assert "publish: {mode: pointer}" in said
    assert not tools.layout.table.exists()
    assert list(tools.layout.staging.iterdir()) == []


def test_a_machine_without_java_scores_over_connect(
    project: Path, deployment: Path, engine: SparkEngine, tmp_path: Path
) -> None:
    if not engine._remote:
        pytest.skip("a driver of a standalone cluster is a JVM")
    text = deployment.read_text().replace("kind: local", f'kind: spark, remote: "{engine._master}"')
    deployment.write_text(text)
    done = run(deployment, without_java(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    table = pd.read_parquet(project / "scores" / "churn")
    assert len(table) == 200


def test_a_server_that_is_not_there_is_said(deployment: Path, cli: Any) -> None:
    text = deployment.read_text().replace("kind: local", 'kind: spark, remote: "sc://127.0.0.1:1"')
    deployment.write_text(text)
    done = cli("run", deployment, "--partition", DAYS[1])
    assert done.code == 3, done.err
    assert "sc://127.0.0.1:1" in done.err
