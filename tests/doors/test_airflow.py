"""Airflow's door: the DAG file parses, and `dag.test()` scores a partition for real."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from batchdeploy.core.deployment import PartitionSpec
from batchdeploy.errors import PartitionError

pytestmark = pytest.mark.airflow

RUN = """
import sys, json, warnings
warnings.simplefilter("ignore")
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
assert not bag.import_errors, bag.import_errors
(dag,) = bag.dags.values()
if sys.argv[2] != "parse":
    run = dag.test(logical_date=None, run_conf=json.loads(sys.argv[2]))
    print("STATES", json.dumps({t.task_id: str(t.state) for t in run.get_task_instances()}))
else:
    print("PARSED", dag.dag_id, dag.owner, sorted(dag.task_ids), dag.fileloc)
"""


@pytest.fixture(scope="module")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite of its own."""
    home = tmp_path_factory.mktemp("airflow")
    subprocess.run(["airflow", "db", "migrate"], env=environment(home), check=True, capture_output=True)
    return home


def environment(home: Path, dags: Path | None = None) -> dict[str, str]:
    return os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags or home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
    }


def airflow(home: Path, dags: Path, argument: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(dags), argument],
        env=environment(home, dags),
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def with_dag(project: Path) -> Path:
    (project / "dags" / "churn.py").write_text(
        'from batchdeploy.airflow import ScoringDag\n\ndag = ScoringDag("churn.yaml")\n', encoding="utf-8"
    )
    return project / "dags"


def test_dag_test_scores_a_partition_and_the_next_one_finds_it_identical(
    project: Path, airflow_home: Path
) -> None:
    dags = with_dag(project)
    assert "PARSED churn tests" in airflow(airflow_home, dags, "parse")
    out = airflow(airflow_home, dags, '{"partition": "2024-03-02"}')
    steps = ("plan", "validate", "score", "compare", "publish")
    assert all(f'"{step}": "success"' in out for step in steps), out[-2000:]
    assert len(pd.read_parquet(project / "scores" / "churn")) == 200
    again = airflow(airflow_home, dags, '{"partition": "2024-03-02"}')
    assert all(f'"{step}": "skipped"' in again for step in steps), again[-2000:]
    assert "is identical to run" in again


def test_a_refusal_fails_its_task_once_and_publishes_nothing(project: Path, airflow_home: Path) -> None:
    suite = project / "expectations" / "customers.json"
    suite.write_text(suite.read_text().replace('"max_value": 120', '"max_value": 20'))
    out = airflow(airflow_home, with_dag(project), '{"partition": "2024-03-02"}')
    assert '"validate": "failed"' in out
    assert '"publish": "upstream_failed"' in out
    assert "failed expectation in data/customers/date=2024-03-02" in out
    assert not (project / "scores" / "churn").exists()


def test_a_run_without_a_partition_says_what_to_type(project: Path, airflow_home: Path) -> None:
    out = airflow(airflow_home, with_dag(project), "{}")
    assert '"plan": "failed"' in out
    assert "trigger it with a partition key" in out


SPEC = PartitionSpec(column="date", timezone="Europe/Zurich")


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({"partition_key": "2013-02-01", "params": {"partition": "x"}}, "2013-02-01"),
        ({"dag_run": SimpleNamespace(partition_key="2013-02-02")}, "2013-02-02"),
        ({"params": {"partition": "2013-02-03"}, "logical_date": None}, "2013-02-03"),
        ({"logical_date": datetime(2013, 2, 3, 23, 30, tzinfo=ZoneInfo("UTC"))}, "2013-02-04"),
    ],
)
def test_one_answer_to_which_partition(context: dict[str, object], expected: str) -> None:
    from batchdeploy.airflow import resolve_partition

    assert resolve_partition(context, SPEC) == expected


def test_no_partition_is_an_error() -> None:
    from batchdeploy.airflow import resolve_partition

    with pytest.raises(PartitionError, match="says no partition of 'date'"):
        resolve_partition({"params": {"partition": None}}, SPEC)
