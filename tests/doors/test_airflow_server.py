"""A real Airflow on PostgreSQL: backfills by REST and by clicks, gates, waits, turns, approval, access."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

import pandas as pd
import pytest
from airflow_calls import ended, run_state, tasks, trigger, until
from airflow_clicks import FLAGS, browser, click_backfill, click_decision, click_report, log_in
from tests_support import copy_project, customers, write_day

if TYPE_CHECKING:
    from batchdeploy.airflow.devserver import DevServer

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    # Warnings of Airflow itself, at the import of its packages.
    pytest.mark.filterwarnings("ignore"),
]

DAYS = [f"2024-03-0{day}" for day in range(1, 4)]
USERS = {"admin": "admin", "viewer": "viewer", "stranger": "admin"}
PASSWORD = "only-for-this-test"
DAG_FILES = {
    "churn": 'from batchdeploy.airflow import ScoringDag\n\ndag = ScoringDag("churn.yaml")\n',
    "gated": 'from batchdeploy.airflow import ScoringDag\n\ndag = ScoringDag("gated.yaml")\n',
    "promotion": 'from batchdeploy.airflow import PromotionDag\n\ndag = PromotionDag("churn.yaml")\n',
    "rescore": (
        "from batchdeploy.airflow import ScoringDag, model_asset\n\n"
        'dag = ScoringDag("rescore.yaml", schedule=[model_asset("churn")])\n'
    ),
    "downstream": (
        "from airflow.sdk import DAG, PartitionedAssetTimetable, task\n\n"
        "from batchdeploy.airflow import scores_asset\n\n"
        'with DAG("downstream", schedule=PartitionedAssetTimetable(assets=scores_asset("one"))) as dag:\n\n'
        "    @task\n"
        "    def tell(**context):\n"
        '        return context["dag_run"].partition_key\n\n'
        "    tell()\n"
    ),
    "one": (
        "from datetime import datetime\n\n"
        "from airflow.sdk import DAG, CronPartitionTimetable\n\n"
        "from batchdeploy.airflow import RunOperator\n\n"
        'days = CronPartitionTimetable("0 6 * * *", timezone="UTC", key_format="%Y-%m-%d")\n'
        'with DAG("one", schedule=days, catchup=False, end_date=datetime(2024, 12, 31)) as dag:\n'
        '    RunOperator(task_id="score", deployment="one.yaml")\n'
    ),
    "broken": 'from batchdeploy.airflow import ScoringDag\n\ndag = ScoringDag("broken.yaml")\n',
}


@pytest.fixture(scope="module")
def site(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with three days of customers and several deployments of the same model."""
    root = tmp_path_factory.mktemp("site") / "project"
    copy_project(template, root)
    for day in DAYS:
        write_day(root / "data" / "customers", day, customers(day))
    shutil.copytree(root / "data" / "customers", root / "data" / "gated")
    text = (root / "dags" / "churn.yaml").read_text()
    # With a last partition, unpausing creates no run for today's.
    text = text.replace("{column: date}", "{column: date, end: 2024-12-31}")
    (root / "dags" / "churn.yaml").write_text(text)
    for name in ("one", "rescore"):
        of_its_own = text.replace("name: churn\n", f"name: {name}\n").replace(
            "scores/churn", f"scores/{name}"
        )
        if name == "one":
            # A backfill in the UI has no param for the model.
            of_its_own = of_its_own.replace("champion", "challenger") + "backfill: {model: 1}\n"
        (root / "dags" / f"{name}.yaml").write_text(of_its_own)
    gated = text.replace("name: churn\n", "name: gated\n").replace("data/customers", "data/gated")
    gated = gated.replace("scores/churn", "scores/gated").replace(
        "keys: [customer_id]", "keys: [customer_id]\n  on_missing: wait\n  poll_seconds: 3"
    )
    (root / "dags" / "gated.yaml").write_text(gated)
    (root / "dags" / "broken.yaml").write_text(text.replace("kind: local", "kind: loco"))
    for name, code in DAG_FILES.items():
        (root / "dags" / f"{name}.py").write_text(code)
    return root


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """The server's folder: not one of pytest's, which its next run closes to PostgreSQL's user."""
    with tempfile.TemporaryDirectory(prefix="airflow-home-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def server(site: Path, home: Path) -> Iterator[DevServer]:
    """Airflow over the site, with logins: everybody-is-admin mode would hide what access checks miss."""
    passwords = home / "passwords.json"
    passwords.write_text(json.dumps(dict.fromkeys(USERS, PASSWORD)))
    settings = {
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{u}:{role}" for u, role in USERS.items()),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
    }
    from batchdeploy.airflow.devserver import serve

    with serve(site / "dags", home, settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def call(server: DevServer) -> Callable[..., Any]:
    """The REST API as the administrator, once all DAGs but the broken one are there and unpaused."""
    token = server.token("admin", PASSWORD)

    def call(path: str, body: Any = None, *, method: str | None = None) -> Any:
        return server.call(path, body, method=method, token=token)

    wanted = {"churn", "gated", "churn-promotion", "rescore", "downstream", "one"}
    until(lambda: wanted <= {dag["dag_id"] for dag in call("/dags?limit=100")["dags"]})
    for name in wanted:
        call(f"/dags/{name}", {"is_paused": False}, method="PATCH")
    return call


def finished(call: Callable[..., Any], dag: str, wanted: int, kind: str | None = None) -> list[Any]:
    """The DAG's runs of a kind, once so many of them have ended."""

    def ended() -> list[Any]:
        runs = [
            r for r in call(f"/dags/{dag}/dagRuns?limit=200")["dag_runs"] if kind in (None, r["run_type"])
        ]
        done = [r for r in runs if r["state"] in ("success", "failed")]
        return done if len(done) >= wanted and len(done) == len(runs) else []

    done = list(until(ended))
    if kind == "backfill":
        # The scheduler closes a backfill shortly after its last run; until then it refuses another.
        until(lambda: all(b["completed_at"] for b in call(f"/backfills?dag_id={dag}")["backfills"]))
    return done


def backfill(call: Callable[..., Any], dag: str, first: str, last: str, behaviour: str = "none") -> Any:
    return call(
        "/backfills",
        {
            "dag_id": dag,
            "from_date": f"{first}T00:00:00Z",
            "to_date": f"{last}T23:59:59Z",
            "reprocess_behavior": behaviour,
            "max_active_runs": 5,
            "run_backwards": False,
            "dag_run_conf": {},
        },
    )


def report(
    server: DevServer, dag: str, run: str, user: str | None, url: str | None = None
) -> tuple[int, str]:
    """Status and text of the report's page."""
    headers = {} if user is None else {"Authorization": f"Bearer {server.token(user, PASSWORD)}"}
    query = urlencode({"dag_id": dag, "run_id": run})
    try:
        with urlopen(Request(f"{url or server.url}/batchdeploy/report?{query}", headers=headers)) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def snapshot(folder: Path) -> dict[str, tuple[str, int]]:
    """Every file's digest and time of change."""
    return {
        str(file.relative_to(folder)): (
            hashlib.sha256(file.read_bytes()).hexdigest(),
            file.stat().st_mtime_ns,
        )
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != "lock"
    }


def test_a_backfill_publishes_each_partition_and_a_second_one_changes_nothing(
    call: Callable[..., Any], server: DevServer, site: Path
) -> None:
    backfill(call, "churn", DAYS[0], DAYS[-1])
    runs = finished(call, "churn", len(DAYS), "backfill")
    assert [run["state"] for run in runs] == ["success"] * len(DAYS)
    table = pd.read_parquet(site / "scores" / "churn")
    assert table.groupby("date", observed=True).size().to_dict() == dict.fromkeys(DAYS, 200)
    events = call("/assets/events?limit=100")["asset_events"]
    scores = {e["partition_key"]: e["extra"] for e in events if e["name"] == "churn/scores"}
    assert set(scores) == set(DAYS)
    for day, extra in scores.items():
        assert (extra["partition"], extra["rows"], extra["model_version"]) == (day, 200, 1)
        assert extra["verdict"] in ("ok", "watch")
        assert len(extra["run_id"]) == 16
    before = snapshot(site / "scores")
    backfill(call, "churn", DAYS[0], DAYS[-1], "completed")
    again = finished(call, "churn", 2 * len(DAYS), "backfill")
    assert len(again) == 2 * len(DAYS)
    for run in (r for r in again if r["dag_run_id"] not in {old["dag_run_id"] for old in runs}):
        assert {t["state"] for t in tasks(call, "churn", run["dag_run_id"]).values()} == {"skipped"}
    assert snapshot(site / "scores") == before
    kinds = {run["run_type"] for run in call("/dags/churn/dagRuns?limit=100")["dag_runs"]}
    assert "scheduled" not in kinds, "unpausing over data of 2024 leaves no run behind"
    status, text = report(server, "churn", again[-1]["dag_run_id"], "viewer")
    assert status == 200
    assert "Published." in text


@pytest.fixture
def guarded(server: DevServer) -> Iterator[str]:
    """A second API server of the same Airflow, whose access is by DAG: standalone's own knows roles only."""
    from batchdeploy.airflow.devserver import free_port

    port = free_port()
    settings = {
        "AIRFLOW__CORE__AUTH_MANAGER": "airflow_access.PerDagAuthManager",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    command = [sys.executable, "-m", "airflow", "api-server", "--host", "127.0.0.1", "--port", str(port)]
    with (server.home / "guarded.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env={**server.environment, **settings},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def healthy() -> bool:
        assert process.poll() is None, (server.home / "guarded.log").read_text()[-2000:]
        try:
            with urlopen(f"http://127.0.0.1:{port}/api/v2/version") as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    try:
        until(healthy)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def test_who_may_read_a_report(call: Callable[..., Any], server: DevServer, guarded: str) -> None:
    run = trigger(call, "churn", DAYS[0])
    assert ended(call, "churn", run) == "success"
    for url in (server.url, guarded):
        assert report(server, "churn", run, None, url)[0] == 401
        assert report(server, "churn", run, "viewer", url)[0] == 200
    assert report(server, "churn", run, "stranger", guarded)[0] == 403
    assert report(server, "one", run, "stranger", guarded)[0] == 200


def test_one_broken_file_breaks_its_own_dag_only(call: Callable[..., Any]) -> None:
    errors = until(lambda: call("/importErrors")["import_errors"])
    assert [Path(error["filename"]).name for error in errors] == ["broken.py"]
    assert "broken.yaml" in errors[0]["stack_trace"]
    assert "engine.kind" in errors[0]["stack_trace"]
    assert "line 14, column 10" in errors[0]["stack_trace"]


def test_a_manual_run_without_a_key_says_what_to_type(call: Callable[..., Any], server: DevServer) -> None:
    run = trigger(call, "churn")
    assert ended(call, "churn", run) == "failed"
    assert tasks(call, "churn", run)["plan"]["try_number"] == 1
    status, text = report(server, "churn", run, "viewer")
    assert status == 200
    assert "says no partition of &#39;date&#39;" in text
    assert "trigger it with a partition key" in text
    late = call("/dags/churn/dagRuns", {"logical_date": "2025-06-01T00:00:00Z", "conf": {}})["dag_run_id"]
    assert ended(call, "churn", late) == "failed", (
        "a logical date after the end is not green with nothing done"
    )
    assert tasks(call, "churn", late)["plan"]["state"] == "failed"
    with pytest.raises(HTTPError, match="which is 2024-03-02, got 2024-3-2"):
        trigger(call, "churn", "2024-3-2")


def test_a_refused_partition_is_red_once_and_clearing_it_after_the_rows_are_mended_publishes(
    call: Callable[..., Any], server: DevServer, site: Path
) -> None:
    day = DAYS[0]
    bad = customers(day)
    bad.loc[:4, "age"] = 180.0
    write_day(site / "data" / "gated", day, bad)
    run = trigger(call, "gated", day)
    assert ended(call, "gated", run) == "failed"
    state = tasks(call, "gated", run)
    assert state["validate"]["state"] == "failed"
    assert state["validate"]["try_number"] == 1
    assert state["publish"]["state"] == "upstream_failed"
    assert not (site / "scores" / "gated").exists()
    status, text = report(server, "gated", run, "viewer")
    assert status == 200
    assert "Refused: 1 blocking expectations failed" in text
    assert "expect_column_values_to_be_between" in text
    log = call(f"/dags/gated/dagRuns/{quote(run)}/taskInstances/validate/logs/1?full_content=true")
    reasons = [line for line in json.dumps(log).split('"event"') if "1 failed expectation in" in line]
    assert reasons
    assert "\\n" not in reasons[0].split("1 failed expectation in")[1][:120]
    write_day(site / "data" / "gated", day, customers(day))
    call(
        "/dags/gated/clearTaskInstances",
        {
            "dry_run": False,
            "dag_run_id": run,
            "task_ids": ["validate"],
            "include_downstream": True,
            "only_failed": False,
            "reset_dag_runs": True,
        },
    )
    until(lambda: run_state(call, "gated", run) not in ("failed",))
    assert ended(call, "gated", run) == "success"
    assert len(pd.read_parquet(site / "scores" / "gated")) == 200
    assert "Published." in report(server, "gated", run, "viewer")[1]


def test_a_run_waits_for_its_rows_without_a_worker(call: Callable[..., Any], site: Path) -> None:
    day = "2024-03-09"
    run = trigger(call, "gated", day)
    until(lambda: tasks(call, "gated", run)["plan"]["state"] == "up_for_reschedule")
    write_day(site / "data" / "gated", day, customers(day))
    assert ended(call, "gated", run) == "success"
    assert (site / "scores" / "gated" / f"date={day}").is_dir()


def test_two_runs_of_one_partition_take_turns(call: Callable[..., Any], site: Path) -> None:
    day = DAYS[2]
    manual = trigger(call, "gated", day)
    backfill(call, "gated", day, day, "completed")
    (other,) = finished(call, "gated", 1, "backfill")
    assert ended(call, "gated", manual) == "success"
    assert other["state"] == "success"
    states = [tasks(call, "gated", run)["publish"]["state"] for run in (manual, other["dag_run_id"])]
    assert sorted(states) == ["skipped", "success"]
    table = pd.read_parquet(site / "scores" / "gated" / f"date={day}")
    assert len(table) == 200
    assert table["_run_id"].nunique() == 1
    audit = (site / "scores" / "gated.batchdeploy" / "audit.jsonl").read_text()
    assert sum(day in line for line in audit.splitlines()) == 1
    claims = (site / "scores" / "gated.batchdeploy" / "claims").iterdir()
    assert not any(claim.read_bytes() for claim in claims)


def test_a_backfill_by_clicks_and_its_report(
    call: Callable[..., Any], server: DevServer, site: Path, tmp_path: Path
) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser(), args=FLAGS)
        page = chromium.new_page(viewport={"width": 1400, "height": 900})
        log_in(page, f"{server.url}/dags/one", "admin", PASSWORD)
        click_backfill(page, DAYS[0], DAYS[1], tmp_path)
        runs = finished(call, "one", 2, "backfill")
        assert [run["state"] for run in runs] == ["success"] * 2
        verdict = click_report(page, server.url, "one", runs[0]["dag_run_id"], tmp_path)
        chromium.close()
    assert verdict == "Published."
    assert len(list(tmp_path.glob("*.png"))) == 4
    table = pd.read_parquet(site / "scores" / "one")
    assert table.groupby("date", observed=True).size().to_dict() == dict.fromkeys(DAYS[:2], 200)
    assert set(table["_model_version"]) == {1}
    told = finished(call, "downstream", 2)
    assert {run["partition_key"] for run in told} == set(DAYS[:2])


@pytest.fixture(scope="module")
def questions(call: Callable[..., Any]) -> dict[str, str]:
    """Two runs that ask about the challenger: one to reject it, and one to approve it after that."""
    return {
        answer: trigger(call, "churn-promotion", partition=day)
        for answer, day in (("Reject", DAYS[0]), ("Approve", DAYS[1]))
    }


def question(call: Callable[..., Any], server: DevServer, run: str) -> tuple[str, str]:
    """Where a promotion's run is to be answered, and what it asks, once it can be answered."""
    path = f"/dags/churn-promotion/dagRuns/{quote(run)}/taskInstances/approve/-1/hitlDetails"

    def asked() -> Any:
        try:
            return call(path)
        except HTTPError:
            return None

    body = str(until(asked)["body"])
    # NOTE: a response that arrives before the scheduler knows that the task is deferred fails the task; no
    # person is that fast.
    task = f"TaskInstanceKey(dag_id='churn-promotion', task_id='approve', run_id='{run}'"
    heard = f"state success for task instance {task}"
    until(lambda: heard in server.log.read_text(errors="replace"))
    return path, body


def test_a_human_rejects_the_challenger_by_clicks_and_the_alias_stays(
    call: Callable[..., Any], server: DevServer, site: Path, questions: dict[str, str]
) -> None:
    from mlflow import MlflowClient
    from playwright.sync_api import sync_playwright

    run = questions["Reject"]
    question(call, server, run)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser(), args=FLAGS)
        page = chromium.new_page(viewport={"width": 1400, "height": 900})
        log_in(page, f"{server.url}/dags/churn-promotion", "admin", PASSWORD)
        click_decision(page, server.url, "churn-promotion", run, "approve", "Reject")
        chromium.close()
    assert ended(call, "churn-promotion", run) == "failed"
    states = {name: task["state"] for name, task in tasks(call, "churn-promotion", run).items()}
    assert states == {"compare_models": "success", "approve": "success", "promote": "failed"}
    client = MlflowClient(registry_uri=f"sqlite:///{site / 'mlflow.db'}")
    assert int(client.get_model_version_by_alias("churn", "champion").version) == 1
    (kept,) = (site / "scores" / "churn.batchdeploy" / "promotions.jsonl").read_text().splitlines()
    decided = json.loads(kept)
    assert (decided["decided_by"], decided["approved"]) == ("admin", False)
    status, text = report(server, "churn-promotion", run, "admin")
    assert status == 200
    assert "Rejected by admin at" in text
    assert "champion stays at version 1" in text


def test_a_human_approves_the_challenger_and_its_partition_is_scored_again(
    call: Callable[..., Any], server: DevServer, site: Path, questions: dict[str, str]
) -> None:
    run = questions["Approve"]
    path, body = question(call, server, run)
    assert "version 1 (champion) against version 2" in body
    assert "churn_probability" in body
    call(path, {"chosen_options": ["Approve"], "params_input": {}}, method="PATCH")
    assert ended(call, "churn-promotion", run) == "success"
    (rescored,) = finished(call, "rescore", 1)
    assert rescored["state"] == "success"
    table = pd.read_parquet(site / "scores" / "rescore")
    assert set(table["date"]) == {DAYS[1]}
    assert set(table["_model_version"]) == {2}
