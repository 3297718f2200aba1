"""Spark on machines that share nothing with the driver but the network; what a run needs lies in a store."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from namespaces import REPOSITORY
from object_stores import CREDENTIALS
from spark_clusters import SeparateSpark, separate_spark
from tests_support import SPARKS

from batchdeploy.adapters.engines.spark import SparkEngine

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
