"""Other accidents: failing steps, unresponsive registries, wrong clocks, many processes, little memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests_support import Result, customers, move_alias, tree, write_day

from batchdeploy.assembly import open_toolbox
from batchdeploy.errors import OutsideError
from batchdeploy.workflows import plan, report, run_steps, timing
from batchdeploy.workflows.run import run as run_partition
from faults.projects import leftovers, scores_in, start
from faults.test_bad_models import declare, register_answer

pytestmark = pytest.mark.slow

DAY = "2024-03-02"
Cli = Callable[..., Result]


STEPS = {
    "resolve": plan,
    "validate": run_steps,
    "score": run_steps,
    "measure_drift": run_steps,
    "publish": run_steps,
    "render_html": report,
}


@pytest.mark.parametrize("step", STEPS)
def test_a_run_that_failed_at_any_step_succeeds_when_it_is_run_again(
    deployment: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    tools = open_toolbox(deployment)
    run_partition(tools, DAY)
    root = tools.layout.table / f"date={DAY}"
    before = scores_in(root)
    write_day(tools.root / "data" / "customers", DAY, customers(DAY).assign(age=50.0))
    calls = []

    def failing(*arguments: Any, **options: Any) -> Any:
        calls.append(step)
        raise OutsideError("the disk", "gave up for a moment")

    with monkeypatch.context() as patch:
        patch.setattr(STEPS[step], step, failing)
        # A report that cannot be drawn must not fail a run whose scores are published.
        published = step == "render_html"
        with nullcontext() if published else pytest.raises(OutsideError):
            run_partition(tools, DAY)
    assert calls, "the fault did not fire"
    assert (scores_in(root) == before) is not published
    outcome = run_partition(tools, DAY)
    assert outcome.status == ("identical" if published else "published")
    assert scores_in(root) != before
    assert leftovers(tools.layout.control) == []


def test_an_alias_that_moves_during_the_run_changes_nothing_of_it(deployment: Path) -> None:
    tools = open_toolbox(deployment)
    fetch, moved = tools.registry.fetch, []

    def fetching(pin: Any, models: Path) -> Path:
        move_alias(tools.root, "champion", 2)
        moved.append(True)
        return fetch(pin, models)

    tools.registry.fetch = fetching  # type: ignore[method-assign]
    manifest = run_partition(tools, DAY).manifest
    assert moved, "the fault did not fire"
    frame = pd.read_parquet(tools.layout.partition_dir(f"date={DAY}"))
    assert (manifest.model_version, set(frame["_model_version"])) == (1, {1})


def test_three_kinds_of_runs_of_one_partition_at_once(project: Path, deployment: Path) -> None:
    """A scheduled, a backfilled and a forced run: each published, or found the partition published."""
    days = ["--from", "2024-03-01", "--to", "2024-03-03"]
    backfill = [sys.executable, "-m", "batchdeploy", "backfill", str(deployment), *days]
    processes = [start(deployment, DAY), start(deployment, DAY, "--force")]
    processes.append(subprocess.Popen(backfill, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    ended = [(p.communicate()[1], p.returncode) for p in processes]
    for err, code in ended:
        assert code == 0 or ("StaleRun" in err or "has published" in err), (code, err)
    assert any(code == 0 for _, code in ended)
    control = project / "scores" / "churn.batchdeploy"
    assert len(scores_in(project / "scores" / "churn" / f"date={DAY}")) == 200
    assert leftovers(control) == []


class Hanging(BaseHTTPRequestHandler):
    """An MLflow server that answers 500, or not at all."""

    status: int | None = None

    def do_GET(self) -> None:
        if self.status is None:
            self.server.asked.set()  # type: ignore[attr-defined]
            self.server.ended.wait(60)  # type: ignore[attr-defined]
            return
        self.server.asked.set()  # type: ignore[attr-defined]
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *arguments: Any) -> None:
        pass


@contextmanager
def registry(status: int | None) -> Iterator[tuple[int, threading.Event]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Hanging,), {"status": status}))
    server.daemon_threads = True
    server.asked, server.ended = threading.Event(), threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1], server.asked  # type: ignore[attr-defined]
    finally:
        server.ended.set()  # type: ignore[attr-defined]
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("status", [500, None], ids=["500", "no answer"])
def test_a_registry_that_fails_or_hangs_is_named(
    project: Path, deployment: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, status: int | None
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    with registry(status) as (port, asked):
        text = deployment.read_text().replace(
            "{name: churn,", f"{{name: churn, registry: 'http://127.0.0.1:{port}',"
        )
        deployment.write_text(text)
        before = tree(project)
        result = cli("run", deployment, "--partition", DAY)
    assert asked.is_set(), "the fault did not fire"
    assert result.code == 3, result.err
    assert f"127.0.0.1:{port}" in result.err
    assert tree(project) == before


def test_a_clock_that_goes_back_an_hour(deployment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No decision depends on the clock: the fence, the order of generations, what is a leftover."""
    import time

    tools = open_toolbox(deployment)
    first = run_partition(tools, DAY).manifest.run_id
    real, now = time.time, timing.now
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    monkeypatch.setattr(timing, "now", lambda: now() - pd.Timedelta(hours=1).to_pytimedelta())
    move_alias(tools.root, "champion", 2)
    second = run_partition(tools, DAY).manifest.run_id
    assert tools.publishing.table.generations(f"date={DAY}")[0] == first
    tools.publishing.maintenance.collect_garbage(now=time.time())
    back = tools.publishing.publisher.roll_back(
        f"date={DAY}", to=None, expected_run=second, at=timing.now().isoformat()
    )
    assert back == first
    assert leftovers(tools.layout.control) == []


@pytest.mark.parametrize(
    "name", ["a'b\"c", "<b>x</b>", "line\nbreak", "🚀", "x" * 10_000, "..", "a/b", "name\0nul"]
)
def test_a_strange_name_is_refused(project: Path, deployment: Path, cli: Cli, name: str) -> None:
    text = deployment.read_text(encoding="utf-8")
    deployment.write_text(text.replace("name: churn\nowner", f"name: {json.dumps(name)}\nowner"))
    before = tree(project)
    result = cli("run", deployment, "--partition", DAY)
    assert result.code == 2
    assert "name" in result.err
    assert len(result.err) < 2_000
    assert tree(project) == before


def test_a_corrupted_object_in_the_cache_of_dvc_is_not_scored(project: Path, cli: Cli) -> None:
    def shell(*command: str) -> None:
        subprocess.run(command, cwd=project, check=True, capture_output=True)

    shell("git", "init", "-q")
    shell("dvc", "init", "-q")
    shell("dvc", "add", "-q", "data/customers")
    shell("git", "add", "-A")
    shell("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "rows")
    deployment = project / "dags" / "churn.yaml"
    deployment.write_text(deployment.read_text().replace("  keys:", "  rev: HEAD\n  keys:"))
    assert cli("run", deployment, "--partition", "2024-03-01").code == 0
    size = (project / "data" / "customers" / f"date={DAY}" / "part-0.parquet").stat().st_size
    spoilt = [f for f in (project / ".dvc" / "cache").rglob("*") if f.is_file() and f.stat().st_size == size]
    assert spoilt
    for file in spoilt:
        file.chmod(0o644)
        content = bytearray(file.read_bytes())
        content[size // 3] ^= 1
        file.write_bytes(content)
    shutil.rmtree(project / "data" / "customers")
    result = cli("run", deployment, "--partition", DAY)
    assert result.code == 3, result.err
    assert "other content than was recorded" in result.err
    assert f"date={DAY}/part-0.parquet" in result.err
    assert not (project / "scores" / "churn" / f"date={DAY}").exists()


def spark(deployment: Path, master: str) -> None:
    deployment.write_text(
        deployment.read_text().replace("kind: local", f'kind: spark, master: "{master}"'), encoding="utf-8"
    )


@pytest.mark.jvm
def test_a_worker_that_dies_once_costs_a_retry_and_no_row(project: Path, tmp_path: Path, cli: Cli) -> None:
    mark, tried = str(tmp_path / "died"), str(tmp_path / "tried")

    def mortal(frame: pd.DataFrame) -> Any:
        import os

        if not os.path.exists(tried):
            # The probe process, not a worker.
            with open(tried, "w") as stream:
                stream.write(str(os.getpid()))
        if Path(tried).read_text() != str(os.getpid()) and not os.path.exists(mark):
            open(mark, "w").close()
            os._exit(1)
        return pd.DataFrame({"y": np.ones(len(frame))})

    register_answer(project, mortal, [("y", "double")])
    deployment = declare(project, "y: {type: double}")
    spark(deployment, "local[2,3]")
    result = cli("run", deployment, "--partition", DAY, "--json")
    assert Path(mark).exists(), "the fault did not fire"
    assert result.code == 0, result.err
    assert result.json["manifest"]["rows_scored"] == 200
    assert len(pd.read_parquet(project / "scores" / "churn")) == 200


@pytest.mark.jvm
def test_a_batch_beyond_a_workers_memory_is_split(project: Path, tmp_path: Path, cli: Cli) -> None:
    """Ten MiB a row in a worker that may have two GiB more than it starts with: 200 rows do not fit."""
    mark = str(tmp_path / "refused")

    def hungry(frame: pd.DataFrame) -> Any:
        try:
            rows = np.ones((len(frame), 10 * (1 << 17)))
        except MemoryError:
            open(mark, "w").close()
            raise
        return pd.DataFrame({"y": rows[:, 0]})

    register_answer(project, hungry, [("y", "double")])
    deployment = declare(project, "y: {type: double}", "limits: {worker_memory_mib: 3000}\n")
    spark(deployment, "local[2]")
    result = cli("run", deployment, "--partition", DAY, "--json")
    assert result.code == 0, result.err
    assert Path(mark).exists(), "the fault did not fire"
    assert result.json["manifest"]["rows_scored"] == 200
