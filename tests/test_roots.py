"""Where a project begins, and that scores do not land in a checkout that Airflow deletes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from airflow_runs import environment
from tests_support import Result

from batchdeploy.assembly import open_toolbox
from batchdeploy.errors import DeploymentError
from batchdeploy.host.project_root import find_root


def made(root: Path, *marks: str) -> Path:
    """A deployment's file two folders below a root with these marks, which is not read."""
    for mark in marks:
        (root / mark).mkdir(parents=True)
    (root / "dags" / "team").mkdir(parents=True)
    return root / "dags" / "team" / "x.yaml"


@pytest.mark.parametrize("mark", [".batchdeploy", ".dvc", "dvc.yaml", ".git"])
def test_a_mark_makes_a_root(tmp_path: Path, mark: str) -> None:
    assert find_root(made(tmp_path / "p", mark)) == tmp_path / "p"


def test_the_mark_that_was_made_for_it_goes_over_nearer_ones(tmp_path: Path) -> None:
    file = made(tmp_path / "p", ".batchdeploy", "dags/.git")
    assert find_root(file) == tmp_path / "p"


def test_a_root_is_said_by_the_key_then_by_the_variable_then_by_a_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = made(tmp_path / "p", ".git")
    monkeypatch.setenv("BATCHDEPLOY_ROOT", str(tmp_path / "elsewhere"))
    assert find_root(file) == tmp_path / "elsewhere"
    assert find_root(file, "..") == tmp_path / "p" / "dags"
    assert find_root(file, str(tmp_path)) == tmp_path
    monkeypatch.setenv("BATCHDEPLOY_ROOT", "")
    assert find_root(file) == tmp_path / "p"
    monkeypatch.setenv("BATCHDEPLOY_ROOT", "elsewhere")
    with pytest.raises(DeploymentError, match="BATCHDEPLOY_ROOT: must be an absolute path, got elsewhere"):
        find_root(file)


def test_a_root_that_is_not_there_is_named(deployment: Path) -> None:
    deployment.write_text(deployment.read_text() + "root: ../elsewhere\n")
    with pytest.raises(DeploymentError, match=r"root: there is no folder .*/project/elsewhere"):
        open_toolbox(deployment)


@pytest.fixture
def checkouts(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The project as Airflow checks out two commits of it: without `.git`, and here without `dvc.yaml`."""
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "bundles"))
    (project / "dvc.yaml").unlink()
    folders = [tmp_path / "bundles" / "churn" / "versions" / commit for commit in ("a" * 40, "b" * 40)]
    for folder in folders:
        shutil.copytree(project, folder)
    return folders


def test_a_checkout_is_the_root_of_what_lies_in_it(checkouts: list[Path], tmp_path: Path) -> None:
    assert find_root(checkouts[0] / "dags" / "churn.yaml") == checkouts[0]
    tracking = made(tmp_path / "bundles" / "churn" / "tracking_repo")
    assert find_root(tracking) == tmp_path / "bundles" / "churn" / "tracking_repo"
    fetched = made(tmp_path / "bundles" / "from_s3")
    assert find_root(fetched) == tmp_path / "bundles" / "from_s3"


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("path: scores/churn", "path: /srv/scores/churn"),
        (
            "path: s3://lake/scores/churn\n  control: records/churn.batchdeploy",
            "control: /srv/records/churn.batchdeploy",
        ),
    ],
)
def test_scores_in_a_checkout_are_refused_with_the_line_to_write(
    checkouts: list[Path], cli: Callable[..., Result], output: str, line: str
) -> None:
    file = checkouts[0] / "dags" / "churn.yaml"
    text = file.read_text().replace("path: scores/churn", output)
    file.write_text(text + ("publish: {mode: pointer}\n" if "s3:" in output else ""))
    for words in (["run", file, "-p", "2024-03-02"], ["check", file], ["status", file]):
        done = cli(*words)
        assert done.code == 2
        assert "which Airflow deletes" in done.err.replace("\n", " ")
        assert line in done.err
    assert not (checkouts[0] / "scores").exists()


@pytest.mark.slow
def test_scores_outlive_a_checkout_and_the_next_commit_finds_them(
    checkouts: list[Path], cli: Callable[..., Result], tmp_path: Path
) -> None:
    for checkout in checkouts:
        file = checkout / "dags" / "churn.yaml"
        file.write_text(file.read_text().replace("path: scores/churn", f"path: {tmp_path}/lake/churn"))
    first, second = (checkout / "dags" / "churn.yaml" for checkout in checkouts)
    database = f"registry: sqlite:///{tmp_path / 'project' / 'mlflow.db'}"
    for file in (first, second):
        file.write_text(file.read_text().replace("alias: champion", f"alias: champion, {database}"))
    assert cli("run", first, "-p", "2024-03-02").code == 0
    shutil.rmtree(checkouts[0])
    assert cli("plan", second, "-p", "2024-03-02", "--json").json["plans"][0]["state"] == "identical"
    assert len(pd.read_parquet(tmp_path / "lake" / "churn")) == 200


@pytest.mark.slow
def test_one_root_for_all_commits_takes_relative_outputs(
    checkouts: list[Path], project: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHDEPLOY_ROOT", str(project))
    assert cli("run", checkouts[0] / "dags" / "churn.yaml", "-p", "2024-03-02").code == 0
    assert (project / "scores" / "churn" / "date=2024-03-02").is_dir()
    assert not (checkouts[0] / "scores").exists()


PARSE = """
import sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
print(bag.import_errors, {name: str(dag.get_task("plan").root) for name, dag in bag.dags.items()})
"""


@pytest.mark.airflow
def test_a_dag_in_a_bundle_is_an_import_error_where_its_scores_would_be_lost(
    checkouts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH")
    home = tmp_path / "home"
    home.mkdir()
    said = f"[dag_processor]\ndag_bundle_storage_path = {tmp_path / 'bundles'}\n"
    (home / "airflow.cfg").write_text(said)
    dags = checkouts[0] / "dags"
    text = (dags / "churn.yaml").read_text().replace("name: churn\n", "name: lasting\n")
    (dags / "lasting.yaml").write_text(text.replace("path: scores/churn", f"path: {tmp_path}/lake/churn"))
    for name in ("churn", "lasting"):
        code = f'from batchdeploy.airflow import ScoringDag\n\ndag = ScoringDag("{name}.yaml")\n'
        (dags / f"{name}.py").write_text(code)
    command = [sys.executable, "-W", "ignore", "-c", PARSE, str(dags)]
    done = subprocess.run(
        command, env=environment(home, dags), cwd=home, capture_output=True, text=True, check=True
    )
    assert "path: /srv/scores/churn" in done.stdout
    assert f"{{'lasting': '{checkouts[0]}'}}" in done.stdout


@pytest.mark.airflow
@pytest.mark.filterwarnings("ignore")
def test_a_task_that_runs_from_a_version_elsewhere_is_refused_too(deployment: Path) -> None:
    from types import SimpleNamespace

    from airflow.sdk.exceptions import AirflowFailException

    from batchdeploy.airflow import ScoringDag

    plan = ScoringDag(str(deployment)).get_task("plan")
    told: dict[str, str] = {}

    def execute(version: str | None) -> None:
        bundle = SimpleNamespace(version=version, path=deployment.parents[1])
        ti = SimpleNamespace(bundle_instance=bundle, xcom_push=lambda key, value: told.update({key: value}))
        plan.execute({"ti": ti, "params": {}, "dag": plan.dag})

    # A bundle of its own kind, whose versions do not lie where Airflow keeps bundles.
    with pytest.raises(AirflowFailException, match="path: /srv/scores/churn"):
        execute("a" * 40)
    # A folder that is no version lasts.
    with pytest.raises(AirflowFailException, match="says no partition of 'date'"):
        execute(None)
