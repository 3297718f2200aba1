"""Airflow's door, piece by piece: the other interpreter, and which folders the report's page reads."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest
from tests_support import TALK, edit, talking

from batchdeploy.core.request import StepRequest
from batchdeploy.errors import EngineError, MissingPackageError, PartitionError, RequestError

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore")]


def python(folder: Path, body: str) -> Path:
    """An interpreter that does something else."""
    file = folder / "python"
    file.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    file.chmod(0o755)
    return file


def test_errors_arrive_as_they_were_raised(deployment: Path) -> None:
    from batchdeploy.airflow.interpreter import Interpreter

    lines: list[str] = []
    other = Interpreter(Path(sys.executable), deployment, lines.append)
    with pytest.raises(PartitionError, match="not a partition's value") as caught:
        other.take_step(StepRequest(step="plan", partition="a/../b"))
    assert caught.value.problems[0].path == "date"
    assert any("not a partition's value" in line for line in lines)


@pytest.mark.parametrize(
    ("body", "error", "text"),
    [
        ("echo no JSON; echo why >&2; exit 4", EngineError, "ended with code 4: why"),
        ("kill -9 $$", EngineError, "ended by signal 9"),
        ("echo '/x: No module named batchdeploy' >&2; exit 1", MissingPackageError, "not installed there"),
    ],
)
def test_an_interpreter_that_answers_nothing(
    tmp_path: Path, deployment: Path, body: str, error: type[Exception], text: str
) -> None:
    from batchdeploy.airflow.interpreter import Interpreter

    other = Interpreter(python(tmp_path, body), deployment, lambda _line: None)
    with pytest.raises(error, match=text):
        other.take_step(StepRequest(step="plan", partition="x"))


@pytest.mark.timeout(30)
def test_a_long_answer_is_read_while_the_log_goes_on(tmp_path: Path, deployment: Path) -> None:
    """A pipe holds 64 KiB; who waits for the end of one before he reads the other waits for ever."""
    from batchdeploy.airflow.interpreter import Interpreter

    body = (
        "head -c 200000 /dev/zero | tr '\\0' ' '; echo '{\"outcome\": \"done\"}'; printf '\\377 why\\n' >&2"
    )
    other = Interpreter(python(tmp_path, body), deployment, lambda _line: None)
    assert other.take_step(StepRequest(step="plan", partition="x")) == {"outcome": "done"}


def test_a_model_that_prints_leaves_the_answer_alone(project: Path, deployment: Path) -> None:
    from batchdeploy.airflow.interpreter import Interpreter

    talking(project)
    other = Interpreter(Path(sys.executable), deployment, lambda _line: None)
    answer = other.take_step(StepRequest(step="run", partition="2024-03-02"))
    assert (answer["outcome"], answer["rows"]) == ("done", 200)
    printed = (Path(str(answer["folder"])) / "output.txt").read_text(encoding="utf-8")
    for words in TALK:
        assert words in printed
    assert "at the end" not in printed


def test_an_interpreter_that_is_not_there(tmp_path: Path, deployment: Path) -> None:
    from batchdeploy.airflow.interpreter import Interpreter

    with pytest.raises(MissingPackageError, match="no such interpreter"):
        Interpreter(tmp_path / "none", deployment, print).take_step(StepRequest(step="plan"))


def until_gone(pid: int, *, most: float) -> bool:
    """Whether a process ends within so many seconds; a zombie has ended."""
    end = time.monotonic() + most
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_a_killed_task_ends_the_other_interpreter_and_its_children(tmp_path: Path, deployment: Path) -> None:
    from batchdeploy.airflow.interpreter import Interpreter

    mark = tmp_path / "child"
    other = Interpreter(python(tmp_path, f"sleep 600 & echo $! > {mark}; wait"), deployment, print)
    raised: list[EngineError] = []

    def step() -> None:
        try:
            other.take_step(StepRequest(step="plan"))
        except EngineError as error:
            raised.append(error)

    thread = threading.Thread(target=step)
    thread.start()
    while not (mark.is_file() and mark.read_text().strip()):
        time.sleep(0.05)
    child = int(mark.read_text())
    other.kill()
    thread.join(20)
    assert not thread.is_alive()
    assert raised
    # A killed process ends some time after the signal is sent.
    assert until_gone(child, most=20), "an orphan process"


def test_the_reports_page_reads_reports_of_runs_only(tmp_path: Path) -> None:
    from batchdeploy.airflow import report_page
    from batchdeploy.airflow.report_access import ControlFolder

    control = ControlFolder(str(tmp_path / "scores" / "t.batchdeploy"))

    def read_report(folder: str) -> str | None:
        return report_page.read_report(folder, frozenset({control}))

    run = tmp_path / "scores" / "t.batchdeploy" / "runs" / "date=2024-01-01" / ("a" * 16)
    run.mkdir(parents=True)
    assert read_report(str(run)) is None
    (run / "report.html").write_text("<p>whole", encoding="utf-8")
    assert read_report(str(run)) == "<p>whole"
    elsewhere = tmp_path / "secret"
    elsewhere.mkdir()
    (elsewhere / "report.html").write_text("secret", encoding="utf-8")
    assert read_report(str(elsewhere)) is None
    assert read_report(str(run / ".." / ".." / ".." / ".." / ".." / "secret")) is None
    linked = run.with_name("b" * 16)
    linked.symlink_to(elsewhere)
    assert read_report(str(linked)) is None
    sneaky = run.with_name("c" * 16)
    sneaky.mkdir()
    (sneaky / "report.html").symlink_to(elsewhere / "report.html")
    assert read_report(str(sneaky)) is None


def test_a_model_link_leads_to_a_registry_that_has_pages() -> None:
    from types import SimpleNamespace

    from batchdeploy.airflow.links import ModelLink

    key = SimpleNamespace(dag_id="d", run_id="r")
    operator = SimpleNamespace(registry_page="https://mlflow.example.org", pinned_model=("churn model", 7))
    link = ModelLink().get_link(operator, ti_key=key)
    assert link == "https://mlflow.example.org/#/models/churn%20model/versions/7"
    without = SimpleNamespace(registry_page=None, pinned_model=("m", 1))
    assert ModelLink().get_link(without, ti_key=key) == ""


@pytest.mark.parametrize(
    ("keys", "page"),
    [
        ("", "http://from-variable"),
        (", tracking: 'http://u'", "http://from-variable"),
        (", registry: 'http://r/base/'", "http://r/base"),
        (", registry: databricks-uc", None),
    ],
)
def test_the_model_link_leads_to_the_registry_that_a_run_uses(
    project: Path, deployment: Path, monkeypatch: pytest.MonkeyPatch, keys: str, page: str | None
) -> None:
    from batchdeploy.airflow import PlanOperator

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://from-variable")
    edit("name: churn, alias: champion", f"name: a.b.churn, alias: champion{keys}")(project)
    assert PlanOperator(task_id="plan", deployment=str(deployment)).registry_page == page


def test_a_dag_run_has_a_report_for_each_group_and_single_operator() -> None:
    from batchdeploy.airflow.report_page import group_of

    tasks = ["plan", "publish", "night.plan", "night.publish", "flights_score", "hours_score"]
    assert list(map(group_of, tasks)) == ["", "", "night", "night", "flights_score", "hours_score"]


def test_config_keys_that_nobody_reads_are_refused_with_the_right_spelling(deployment: Path) -> None:
    from types import SimpleNamespace

    from airflow.sdk import DAG, task

    from batchdeploy.airflow import PromotionDag, RollbackDag, RunOperator, ScoringDag, scoring_params

    @task
    def other() -> None: ...

    with DAG("own", params={**scoring_params(str(deployment)), "region": "EU"}) as own:
        RunOperator(task_id="plan", deployment=str(deployment))
        other()
    scoring, promotion = ScoringDag(str(deployment)), PromotionDag(str(deployment))

    def refused(dag: DAG, task_id: str, **conf: object) -> list[str]:
        run = SimpleNamespace(conf=conf, partition_key="2024-03-02", run_type="manual")
        context = {"dag": dag, "dag_run": run, "params": {}, "ti": SimpleNamespace(dag_id="d", run_id="r")}
        try:
            dag.get_task(task_id).request(context)
        except RequestError as error:
            return [str(problem) for problem in error.problems]
        return []

    fine = {"partition": "2024-03-02", "model": None, "on_missing": "skip", "repeat": True, "evolve": False}
    assert refused(scoring, "plan", **fine) == refused(own, "plan", **fine) == []
    known = ["Partition: unknown key; did you mean partition?", "when: unknown key"]
    assert refused(scoring, "plan", when=1, Partition=1) == known
    said = refused(scoring, "plan", partition_key="2024-03-02", models=3, repaet=True)
    assert [text.partition("did you mean ")[2] for text in said] == ["model?", "partition?", "repeat?"]
    # Keys that other tasks may read are theirs, unless they look like one of ours.
    assert refused(own, "plan", when=1, region="CH") == []
    assert refused(own, "plan", partiton="2024-03-02") == ["partiton: unknown key; did you mean partition?"]
    assert refused(promotion, "compare_models", challenger="2") == []
    assert refused(RollbackDag(str(deployment)), "rollback", partition="2024-03-02") == []
    told = ["run: unknown key"]
    assert refused(RollbackDag(str(deployment)), "rollback", run="a", to="b") == told
    told = ["challanger: unknown key; did you mean challenger?", "model: unknown key"]
    assert refused(promotion, "compare_models", challanger="2", model="3") == told


def test_a_missing_partition_that_the_schedule_does_not_have_is_never_skipped(deployment: Path) -> None:
    from types import SimpleNamespace

    from airflow.sdk.api.datamodels._generated import DagRunType
    from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

    from batchdeploy.airflow import ScoringDag

    text = deployment.read_text().replace("{column: date}", "{column: date, grain: weekly}")
    deployment.write_text(text.replace("  keys:", "  on_missing: skip\n  keys:"))
    plan = ScoringDag(str(deployment)).get_task("plan")
    told: dict[str, str] = {}
    ti = SimpleNamespace(xcom_push=lambda key, value: told.update({key: value}))

    def miss(day: str, kind: str) -> None:
        run = SimpleNamespace(run_type=DagRunType(kind))
        answer = {"outcome": "missing", "partition": day, "reason": "no such partition"}
        plan.conclude(answer, {"ti": ti, "dag_run": run, "params": {}})

    # A Monday without rows is skipped, as the deployment says; a Tuesday is nobody's partition.
    with pytest.raises(AirflowSkipException):
        miss("2024-03-04", "manual")
    with pytest.raises(AirflowFailException, match="none of the partitions of '0 6 \\* \\* 1'"):
        miss("2024-03-05", "manual")
    assert "no rows for 2024-03-05" in told["batchdeploy_problem"]
    with pytest.raises(AirflowSkipException):
        miss("2024-03-05", "asset_triggered")


@pytest.mark.parametrize(
    ("problems", "summaries", "said"),
    [
        (["the disk is full"], [], "Nothing was published"),
        (["the disk is full"], ["1 decided run published"], "1 decided run published"),
        ([], [], "No report yet"),
    ],
)
def test_a_run_without_a_report_says_only_what_is_so(
    problems: list[str], summaries: list[str], said: str
) -> None:
    from batchdeploy.airflow.report_page import _template

    page = _template().render(
        dag_id="churn-maintenance",
        run_id="manual",
        problems=problems,
        summaries=summaries,
        reports=[],
        folders=[],
    )
    assert said in page
    assert ("Nothing was published" in page) == (said == "Nothing was published")
