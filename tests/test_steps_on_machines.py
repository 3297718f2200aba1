"""The steps of one run on machines that share no disk: what one leaves, the next finds in the store."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import DAYS, REPOSITORY
from machine_sites import bundle
from mlflow_server import log_copy, mlflow_server
from namespaces import Machine, machine
from object_stores import CREDENTIALS, Bucket, new_bucket
from store_tables import published_frame
from tests_support import copy_project, published_scores

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

DAY = DAYS[1]
FOLDER = f"date={DAY}"
STEPS = ("plan", "validate", "score", "drift", "publish")
STORES = ("S3", pytest.param("Azure", marks=pytest.mark.trial))


@pytest.fixture(scope="module", params=STORES)
def lake(request: pytest.FixtureRequest) -> Bucket:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        return new_bucket(request, request.param)


@pytest.fixture(scope="module")
def site(template: Path, lake: Bucket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    work = tmp_path_factory.mktemp("site")
    project = copy_project(template, work / "whole")
    with mlflow_server(work) as server:
        log_copy(server, project, name="churn", tagged=True)
        yield bundle(project, work / "bundle", lake, server.uri, names=("five", "one"))


@pytest.fixture(scope="module")
def machines(site: Path) -> Iterator[tuple[Machine, ...]]:
    """Four machines with batchdeploy installed; three have a checkout, the last one the deployments only."""
    keep = [REPOSITORY / "batchdeploy"]
    with ExitStack() as started:
        found = tuple(started.enter_context(machine(keep=keep, environment=CREDENTIALS)) for _ in range(4))
        for one in found[:3]:
            one.copy(site, site)
        found[3].copy(site / "dags", site / "dags")
        yield found


def ask(where: Machine, *words: object) -> Any:
    """What a command on a machine answers."""
    done = where.run(sys.executable, "-m", "batchdeploy", *words)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def step(where: Machine, file: Path, **request: object) -> Any:
    """What a step on a machine answers."""
    return ask(where, "step", file, "--request", json.dumps(request))


@pytest.mark.parametrize("tasks", ["five", "one"])
def test_a_run_whose_steps_share_no_disk(
    machines: tuple[Machine, ...], site: Path, lake: Bucket, plain: Path, tasks: str
) -> None:
    file, holder = site / "dags" / f"{tasks}.yaml", f"run of {tasks}"
    if tasks == "one":
        answers = [step(machines[0], file, step="run", partition=DAY, holder=holder)]
    else:
        answers = [step(machines[0], file, step="plan", partition=DAY, holder=holder)]
        for number, name in enumerate(STEPS[1:], 1):
            answers.append(
                step(machines[number % 3], file, step=name, folder=answers[-1]["folder"], holder=holder)
            )
    assert {answer["outcome"] for answer in answers} == {"done"}
    assert len({answer["folder"] for answer in answers}) == 1
    assert answers[0]["folder"].startswith(f"{lake.uri}/{tasks}.batchdeploy/runs/{FOLDER}/")
    found = published_frame(lake, tasks, FOLDER).sort_values("customer_id", ignore_index=True)
    pd.testing.assert_frame_equal(found.drop(columns=["_run_id", "_scored_at"]), published_scores(plain))


def test_a_machine_with_only_the_deployment_file_sees_and_changes_the_table(
    machines: tuple[Machine, ...], site: Path
) -> None:
    file, other = site / "dags" / "five.yaml", machines[3]
    answers = [
        step(machines[number], file, step="run", partition=DAY, model="1", repeat=True) for number in range(2)
    ]
    assert [answer["outcome"] for answer in answers] == ["done", "done"]
    states = {row["partition"]: row["state"] for row in ask(other, "status", file, "--json")["partitions"]}
    assert states[DAY] == "published"
    shown = ask(other, "show", answers[1]["run_id"], "--deployment", file, "--json")
    assert shown["Manifest"]["rows_scored"] == 200
    for command in ("recover", "gc", "read-sql"):
        ask(other, command, file, "--json")
