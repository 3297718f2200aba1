"""Every door on a machine that has only the deployment file: records are read from the store."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import obstore
import pytest
from conftest import DAYS, Result
from object_stores import CREDENTIALS, Bucket, azure_bucket, s3_bucket
from store_proxy import Fault, store_proxy
from tests_support import copy_project

import batchdeploy as bd
from batchdeploy.assembly import open_toolbox
from batchdeploy.core.locations import StoreUri
from batchdeploy.core.request import StepRequest
from batchdeploy.errors import PromotionRefused, RequestError
from batchdeploy.workflows.step import take_step

pytestmark = pytest.mark.slow

DAY, OTHER_DAY = DAYS[1:3]
Cli = Callable[..., Result]


def in_store(file: Path, bucket: Bucket, registry: Path) -> Path:
    """The deployment with rows, scores and records in a bucket, and without files of its own."""
    text = file.read_text(encoding="utf-8")
    text = text.replace("path: data/customers", f"path: {bucket.uri}/lake")
    text = text.replace("path: scores/churn", f"path: {bucket.uri}/scores/churn")
    text = text.replace("alias: champion", f"alias: champion, registry: 'sqlite:///{registry}'")
    text = text.replace("expectations: expectations/customers.json\n", "")
    text = text.replace("drift: {reference: data/reference/churn.json}\n", "")
    text += (
        f"publish: {{mode: pointer}}\nstorage: {{endpoint: '{bucket.storage.endpoint}', region: us-east-1}}\n"
    )
    file.write_text(text, encoding="utf-8")
    return file


@dataclass(frozen=True, slots=True, kw_only=True)
class Lake:
    """A bucket in which a project has scored a day twice: by the champion, then by the challenger.

    Attributes:
        file: the deployment.
        runs: the ids of the two runs.
    """

    bucket: Bucket
    file: Path
    runs: tuple[str, str]

    @property
    def control(self) -> str:
        return f"{self.bucket.uri}/scores/churn.batchdeploy"

    def copy(self, folder: Path) -> Path:
        """The deployment file on a machine that has nothing else."""
        folder.mkdir()
        return Path(shutil.copy(self.file, folder / "churn.yaml"))


@pytest.fixture(scope="module")
def lake(template: Path, tmp_path_factory: pytest.TempPathFactory, s3_port: int) -> Iterator[Lake]:
    """The bucket; its credentials are in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        bucket, root = s3_bucket(s3_port), tmp_path_factory.mktemp("first")
        project = copy_project(template, root / "project")
        for part in sorted((project / "data" / "customers").rglob("*.parquet")):
            bucket.put(f"lake/{part.relative_to(project / 'data' / 'customers')}", part.read_bytes())
        file = in_store(project / "dags" / "churn.yaml", bucket, project / "mlflow.db")
        with bd.load(file) as job:
            first = job.run(DAY)
            (second,) = job.backfill(DAY, DAY, model="challenger")
        assert isinstance(first.folder, StoreUri)
        yield Lake(bucket=bucket, file=file, runs=(first.manifest.run_id, second.manifest.run_id))


@pytest.fixture
def elsewhere(lake: Lake, tmp_path: Path) -> Path:
    """The deployment file on a machine that has nothing else."""
    return lake.copy(tmp_path / "elsewhere")


def test_a_run_leaves_only_caches_on_the_machine(lake: Lake) -> None:
    root = lake.file.parents[1]
    left = {file.relative_to(root).parts[:3] for file in (root / "runs").rglob("*") if file.is_file()}
    assert {parts[2] for parts in left} == {"models"}
    assert not (root / "scores").exists()
    assert not [*(root / "runs").rglob("first-used")]


def test_every_command_reads_the_store(
    lake: Lake, elsewhere: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, run), bucket = lake.runs, lake.bucket
    rows = cli("status", elsewhere, "--json").json["partitions"]
    assert [row["run"] for row in rows if row["state"] == "published"] == [run]
    uri = f"{lake.control}/runs/date={DAY}/{run}"
    shown = cli("show", run[:6], "-d", elsewhere, "--json", "--verify").json
    assert (shown["folder"], shown["whole"], shown["files"]["compared"]) == (uri, True, "content")
    assert uri in cli("show", run, "-d", elsewhere).out
    monkeypatch.setenv("AWS_ENDPOINT_URL", str(bucket.storage.endpoint))
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    assert cli("show", uri, "--json").json["Manifest"]["run_id"] == run
    for words in (("report", run, "-d", elsewhere), ("report", uri)):
        page = cli(*words, "--json").json
        assert page["uri"] == f"{uri}/report.html"
        assert "</html>" in Path(page["report"]).read_text(encoding="utf-8")
    assert cli("recover", elsewhere).out == "nothing to do\n"
    assert cli("gc", elsewhere).out == "nothing to do\n"
    assert bucket.uri in cli("read-sql", elsewhere).out
    assert cli("check", elsewhere).code == 0
    assert cli("plan", elsewhere, "-p", DAY, "--json").json["plans"][0]["state"] == "changed"
    assert cli("rollback", elsewhere, "-p", DAY, "--json").json["run_id"] == first
    assert cli("plan", elsewhere, "-p", DAY, "--json").json["plans"][0]["state"] == "identical"
    assert cli("rollback", elsewhere, "-p", DAY, "--to", run, "--json").json["replaced"] == first
    audit = obstore.get(bucket.store, "scores/churn.batchdeploy/audit.jsonl").bytes()
    assert [line.count(b'"rollback"') for line in bytes(audit).splitlines()] == [0, 0, 1, 1]


def test_a_notebook_reads_and_writes_the_store(lake: Lake, elsewhere: Path) -> None:
    with bd.load(elsewhere) as job:
        run = job.published(DAY)
        assert run.manifest.run_id == lake.runs[1]
        assert "</html>" in run.report.read_text(encoding="utf-8")
        assert str(run.folder) in run._repr_html_()
        assert len(run.drift) == 0
        shown = job.show(lake.runs[1], verify=True)
        assert (shown.whole, str(shown.folder)) == (True, str(run.folder))
        compared, file = job.compare_models(DAY)
        assert str(file).startswith(f"{lake.control}/comparisons/date={DAY}/")
        with pytest.raises(PromotionRefused):
            job.reject(file, by="grace")
        assert compared.rows == 200
    decisions = obstore.get(lake.bucket.store, "scores/churn.batchdeploy/promotions.jsonl").bytes()
    assert b"grace" in bytes(decisions)


def test_five_steps_of_a_run_are_taken_on_five_machines(lake: Lake, tmp_path: Path) -> None:
    machines = [lake.copy(tmp_path / name) for name in ("a", "b", "c", "d", "e")]
    folder, holder = None, "dag/run"
    for step, file in zip(("plan", "validate", "score", "drift", "publish"), machines, strict=True):
        asked = StepRequest(step=step, folder=folder, holder=holder, partition=OTHER_DAY)  # type: ignore[arg-type]
        answer = take_step(open_toolbox(file), asked)
        assert answer["outcome"] == "done"
        folder = answer.get("folder", folder)
        assert str(folder).startswith(f"{lake.control}/runs/date={OTHER_DAY}/")
        if step != "publish":
            other = StepRequest(step="plan", holder="dag/other", partition=OTHER_DAY)
            assert take_step(open_toolbox(machines[0]), other) == {"outcome": "busy", "holder": holder}
    again = take_step(open_toolbox(machines[0]), StepRequest(step="plan", partition=OTHER_DAY))
    assert again["outcome"] == "identical"


def test_a_local_run_of_another_machine_is_one_message(
    deployment: Path, template: Path, tmp_path: Path
) -> None:
    answer = take_step(open_toolbox(deployment), StepRequest(step="plan", partition=DAY))
    other = copy_project(template, tmp_path / "other") / "dags" / "churn.yaml"
    for folder in (answer["folder"], answer["folder"].replace("/project/", "/other/")):
        asked = StepRequest(step="validate", folder=folder, host="worker-1")
        with pytest.raises(RequestError) as refused:
            take_step(open_toolbox(other), asked)
        assert folder in str(refused.value)
        assert "plan.json: was written on machine worker-1, and is not there on " in str(refused.value)
        assert "Hint: give output.control a place that all machines reach" in str(refused.value)


def test_a_control_folder_belongs_to_one_deployment_table_and_version(
    lake: Lake, elsewhere: Path, cli: Cli
) -> None:
    text = elsewhere.read_text(encoding="utf-8")
    cases = {
        "name: this control folder belongs to deployment churn, got other": (
            "name: churn\n",
            "name: other\n",
        ),
        f"this control folder is of the table {lake.bucket.uri}/scores/churn, got": (
            "scores/churn\n",
            f"scores/other\n  control: {lake.control}\n",
        ),
    }
    for expected, (old, new) in cases.items():
        elsewhere.write_text(text.replace(old, new, 1), encoding="utf-8")
        for words in (("run", elsewhere, "-p", DAY), ("status", elsewhere), ("gc", elsewhere)):
            done = cli(*words)
            assert (done.code, expected in done.err.replace("\n", " ")) == (2, True), done.err
    elsewhere.write_text(text.replace("scores/churn", "scores/new"), encoding="utf-8")
    lake.bucket.put("scores/new.batchdeploy/control.json", b'{"format": "batchdeploy.control/9"}')
    done = cli("run", elsewhere, "-p", DAY)
    assert done.code == 2
    assert (
        "is of another version than this one's, batchdeploy.control/1, got batchdeploy.control/9" in done.err
    )
    stored = [entry["path"] for chunk in obstore.list(lake.bucket.store, "scores") for entry in chunk]
    keys = [key for key in stored if key.startswith("scores/new")]
    assert keys == ["scores/new.batchdeploy/control.json"]


def test_a_run_and_its_records_on_azure(
    template: Path, tmp_path: Path, azure_port: int, store_credentials: None, cli: Cli
) -> None:
    bucket, project = azure_bucket(azure_port), copy_project(template, tmp_path / "project")
    for part in sorted((project / "data" / "customers").rglob("*.parquet")):
        bucket.put(f"lake/{part.relative_to(project / 'data' / 'customers')}", part.read_bytes())
    file = in_store(project / "dags" / "churn.yaml", bucket, project / "mlflow.db")
    asked = StepRequest(step="run", partition=DAY, holder="dag/run")
    run = take_step(open_toolbox(file), asked)["run_id"]
    other = tmp_path / "elsewhere.yaml"
    shutil.copy(file, other)
    assert cli("show", run, "-d", other, "--verify", "--json").json["whole"]
    assert "</html>" in Path(cli("report", run, "-d", other, "--json").json["report"]).read_text("utf-8")
    assert cli("recover", other).out == "nothing to do\n"


FAULTS: dict[str, tuple[Fault, str, str]] = {
    "refuses": (403, "<Error><Code>AccessDenied</Code></Error>", "the store refuses access"),
    "fails": (503, "<Error><Code>SlowDown</Code></Error>", "the store failed, also on retries"),
    "breaks off": ("lost", "", "the store cannot be reached, or broke off"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("matching", ["control.json", "/runs/", "claims/"])
def test_a_store_that_fails_is_one_message_and_publishes_nothing(
    lake: Lake, elsewhere: Path, s3_port: int, monkeypatch: pytest.MonkeyPatch, fault: str, matching: str
) -> None:
    tries = {"max_retries": 1, "retry_timeout": timedelta(seconds=2)}
    monkeypatch.setattr("batchdeploy.storage.object_storage.TRIES", tries)
    with store_proxy(s3_port) as proxy:
        text = elsewhere.read_text(encoding="utf-8").replace(
            "scores/churn", f"scores/{fault[:4]}-{matching.strip(chr(47))}"
        )
        elsewhere.write_text(text.replace(f":{s3_port}", f":{proxy.port}"), encoding="utf-8")
        proxy.matching = matching
        proxy.fault, proxy.body, expected = FAULTS[fault]
        with pytest.raises(bd.OutsideError) as failed:
            take_step(open_toolbox(elsewhere), StepRequest(step="run", partition=DAY, holder="dag/run"))
        assert expected in str(failed.value)
        assert "\n" not in str(failed.value.problems[0])
    elsewhere.write_text(text, encoding="utf-8")
    assert open_toolbox(elsewhere).publishing.table.published_partitions() == ()
