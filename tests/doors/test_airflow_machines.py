"""Airflow whose tasks run on machines that share no disk with each other, the scheduler or the UI."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pandas as pd
import pytest
from airflow_calls import ended, tasks, trigger, until
from airflow_machines import MACHINES, NOTES
from conftest import DAYS, REPOSITORY
from machine_sites import bundle
from mlflow_server import log_copy, mlflow_server
from namespaces import Machine, machine
from object_stores import CREDENTIALS, Bucket, s3_bucket
from store_tables import keys, published_frame
from tests_support import copy_project, published_scores

from batchdeploy.airflow.devserver import DevServer, serve

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    # Warnings of Airflow itself, at the import of its packages.
    pytest.mark.filterwarnings("ignore"),
]

DAY = DAYS[1]
FOLDER = f"date={DAY}"
DAGS = {"five": "", "one": ', tasks="one"'}
STEPS = {"plan", "validate", "score", "drift", "publish"}


@pytest.fixture(scope="module")
def lake(s3_port: int) -> Bucket:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        return s3_bucket(s3_port)


@pytest.fixture(scope="module")
def site(template: Path, lake: Bucket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What a DAG bundle holds; rows and models lie in servers."""
    work = tmp_path_factory.mktemp("airflow")
    project = copy_project(template, work / "whole")
    with mlflow_server(work) as server:
        log_copy(server, project, name="churn", tagged=True)
        root = bundle(project, work / "bundle", lake, server.uri, names=tuple(DAGS))
        for name, arguments in DAGS.items():
            text = (
                f'from batchdeploy.airflow import ScoringDag\n\ndag = ScoringDag("{name}.yaml"{arguments})\n'
            )
            (root / "dags" / f"{name}.py").write_text(text)
        yield root


@pytest.fixture(scope="module")
def machines(site: Path) -> Iterator[tuple[Machine, ...]]:
    """Three workers with batchdeploy installed and a checkout of the DAG bundle, and nothing else."""
    with ExitStack() as started:
        found = tuple(started.enter_context(machine(keep=[REPOSITORY / "batchdeploy"])) for _ in range(3))
        for one in found:
            one.copy(site, site)
        yield found


@pytest.fixture(scope="module")
def notes() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="airflow-notes-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def server(site: Path, machines: tuple[Machine, ...], notes: Path) -> Iterator[DevServer]:
    """Airflow over the bundle, whose tasks run on the machines."""
    commands = []
    for one in machines:
        variables = {"AIRFLOW_HOME": one.home, "AIRFLOW__LOGGING__BASE_LOG_FOLDER": one.home / "logs"}
        variables |= {"TMPDIR": one.home, **CREDENTIALS}
        commands.append([*one.command("env"), *(f"{name}={value}" for name, value in variables.items())])
    settings = {
        "AIRFLOW__CORE__EXECUTOR": "airflow_machines.MachineExecutor",
        "PYTHONPATH": str(REPOSITORY / "tests"),
        MACHINES: json.dumps(commands),
        NOTES: str(notes),
        **CREDENTIALS,
    }
    with (
        tempfile.TemporaryDirectory(prefix="airflow-home-", ignore_cleanup_errors=True) as home,
        serve(site / "dags", Path(home), settings=settings) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def call(server: DevServer) -> Callable[..., Any]:
    """The REST API, once both DAGs are there and unpaused."""
    until(lambda: set(DAGS) <= {dag["dag_id"] for dag in server.call("/dags?limit=100")["dags"]})
    for name in DAGS:
        server.call(f"/dags/{name}", {"is_paused": False}, method="PATCH")
    return server.call


@pytest.mark.parametrize("dag", DAGS)
def test_a_run_on_machines_without_a_common_disk(
    call: Callable[..., Any],
    server: DevServer,
    machines: tuple[Machine, ...],
    lake: Bucket,
    site: Path,
    plain: Path,
    notes: Path,
    dag: str,
) -> None:
    run = trigger(call, dag, DAY)
    state = ended(call, dag, run)
    said = "\n".join(file.read_text()[-3000:] for file in notes.glob("*.log"))
    assert state == "success", said
    states = {name: task["state"] for name, task in tasks(call, dag, run).items()}
    assert states == dict.fromkeys(STEPS if dag == "five" else {"run"}, "success")
    noted = [json.loads(line) for line in (notes / "notes.jsonl").read_text().splitlines()]
    used = {note["machine"] for note in noted if note["run"] == run and note["dag"] == dag}
    assert len(used) == (3 if dag == "five" else 1)
    found = published_frame(lake, dag, FOLDER).sort_values("customer_id", ignore_index=True)
    pd.testing.assert_frame_equal(found.drop(columns=["_run_id", "_scored_at"]), published_scores(plain))
    # Neither the scheduler's disk nor the project has anything of the run.
    assert not (site / "runs").exists() or not list((site / "runs").rglob("*.json"))
    assert any(key.endswith("report.html") for key in keys(lake, f"{dag}.batchdeploy/runs"))
    token = server.token()
    page = Request(
        f"{server.url}/batchdeploy/report?{urlencode({'dag_id': dag, 'run_id': run})}",
        headers={"Authorization": f"Bearer {token}"},
    )
    with urlopen(page) as answer:
        text = answer.read().decode()
    assert "Published." in text
    assert machines[0].run("ls", site / "dags").stdout
