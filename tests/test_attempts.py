"""Evidence belongs to an attempt: a run's folder shows that of one of them, of the published where one is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from faults.killing import killed_at
from tests_support import customers, write_day

from batchdeploy.assembly import LocalToolbox, open_toolbox
from batchdeploy.core.request import StepRequest
from batchdeploy.errors import GateRefused, ScoringRefused, ValidationRefused
from batchdeploy.workflows import run_steps, timing
from batchdeploy.workflows.attempt import begin_attempt
from batchdeploy.workflows.plan import plan as plan_partition
from batchdeploy.workflows.report import draw_report
from batchdeploy.workflows.run import execute
from batchdeploy.workflows.run import run as run_partition
from batchdeploy.workflows.run_folders import attempt_folder, run_folder
from batchdeploy.workflows.run_steps import step_drift, step_publish, step_score, step_validate
from batchdeploy.workflows.step import take_step

pytestmark = pytest.mark.slow

DAY = "2024-03-02"
FOLDER = f"date={DAY}"


@pytest.fixture(params=["swap", "pointer"])
def deployment_in(request: pytest.FixtureRequest, deployment: Path) -> Path:
    """A deployment that quarantines a few rows, in either way of publishing."""
    text = deployment.read_text(encoding="utf-8").replace(
        "keep: [city]", "keep: [city]\npolicy: {ranges: {age: [0, 85]}}"
    )
    text += f"quarantine: {{max_share: 0.5}}\npublish: {{mode: {request.param}, lock_seconds: 5}}\n"
    deployment.write_text(text, encoding="utf-8")
    return deployment


def attempts_of(folder: Path) -> list[Path]:
    return sorted((folder / "attempts").iterdir())


def record(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def one_attempt(tools: LocalToolbox, run: Path) -> None:
    """Everything that a published run's folder shows is of the attempt that published."""
    manifest, plan, scored = (record(run, f"{name}.json") for name in ("manifest", "plan", "scored"))
    assert scored["attempt"] == manifest["attempt"]
    own = run / "attempts" / plan["attempt"]
    assert record(own, "scored.json")["attempt"] == manifest["attempt"]
    for name in ("check.json", "drift.json"):
        assert (run / name).read_bytes() == (own / name).read_bytes()
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Not published" not in page
    assert "Published" in page
    kept = pd.read_parquet(tools.layout.quarantine(FOLDER, manifest["run_id"]))
    assert len(kept) == manifest["rows_quarantined"] > 0


def test_of_two_runs_at_once_the_loser_leaves_the_winners_evidence(deployment_in: Path) -> None:
    winner, loser = open_toolbox(deployment_in), open_toolbox(deployment_in)
    planned = plan_partition(loser, DAY)
    mine = begin_attempt(loser, planned)
    check = step_validate(loser, mine)
    scored = step_score(loser, mine, done=lambda _: None)
    outcome = run_partition(winner, DAY)
    one_attempt(winner, outcome.folder)
    drift = step_drift(loser, mine, scored)
    manifest = step_publish(loser, mine, check=check, scored=scored, drift=drift)
    draw_report(loser, mine)
    assert manifest == outcome.manifest
    assert manifest.attempt != scored.attempt
    one_attempt(winner, outcome.folder)
    assert len(attempts_of(outcome.folder)) == 2
    assert "another attempt" in (attempt_folder(loser, mine) / "report.html").read_text(encoding="utf-8")
    assert not list((winner.layout.control / "staging").iterdir())


def test_a_repeat_that_is_refused_has_evidence_of_its_own(deployment_in: Path) -> None:
    tools = open_toolbox(deployment_in)
    outcome = run_partition(tools, DAY)
    before = {f.name: f.read_bytes() for f in outcome.folder.iterdir() if f.is_file()}

    def refusing(*_: Any) -> Any:
        raise ScoringRefused("the rows", "refused")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(tools.reader), "make_splits", refusing)
        with pytest.raises(GateRefused):
            execute(tools, plan_partition(tools, DAY), repeat=True)
    assert {f.name: f.read_bytes() for f in outcome.folder.iterdir() if f.is_file()} == before
    one_attempt(tools, outcome.folder)
    newest = attempts_of(outcome.folder)[-1]
    assert "Not published" in (newest / "report.html").read_text(encoding="utf-8")
    again = execute(tools, plan_partition(tools, DAY), repeat=True)
    assert again.manifest.attempt != outcome.manifest.attempt
    one_attempt(tools, again.folder)


def test_while_nothing_is_published_the_newest_attempts_evidence_stands(deployment: Path) -> None:
    tools = open_toolbox(deployment)
    bad = customers(DAY)
    bad.loc[:3, "age"] = 200.0
    write_day(tools.root / "data" / "customers", DAY, bad)
    planned = plan_partition(tools, DAY)
    run = run_folder(tools, planned)
    with pytest.raises(ValidationRefused, match="nothing was published"):
        execute(tools, planned)
    first = record(run, "plan.json")["attempt"]
    assert {f.name for f in run.iterdir() if f.is_file()} >= {"plan.json", "check.json", "report.html"}
    mine = begin_attempt(tools, planned)
    assert {f.name for f in run.iterdir() if f.is_file()} == {"plan.json"}
    assert record(run, "plan.json")["attempt"] == mine.attempt != first
    assert (run / "attempts" / first / "check.json").is_file()


def test_rows_that_a_refused_attempt_quarantined_do_not_replace_the_published_ones(
    deployment_in: Path,
) -> None:
    tools = open_toolbox(deployment_in)
    run = run_partition(tools, DAY)
    kept = tools.layout.quarantine(FOLDER, run.manifest.run_id)
    drift = tools.layout.drift(FOLDER, run.manifest.run_id)
    before = {file: file.read_bytes() for file in [*kept.iterdir(), drift]}
    planned = plan_partition(tools, DAY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_steps, "gate_quarantine", _refuse)
        with pytest.raises(ScoringRefused):
            execute(tools, planned, repeat=True)
    assert {file: file.read_bytes() for file in [*kept.iterdir(), drift]} == before
    newest = attempts_of(run.folder)[-1]
    assert len(pd.read_parquet(newest / "quarantine")) == run.manifest.rows_quarantined


def test_steps_of_two_orchestrated_runs_do_not_mix(deployment: Path) -> None:
    """The folder that an orchestrator hands on is the attempt's; of two, one publishes."""

    def ask(**request: Any) -> Any:
        return take_step(open_toolbox(deployment), StepRequest(**request))

    folders = [ask(step="plan", partition=DAY)["folder"] for _ in range(2)]
    assert folders[0] != folders[1]
    for step in ("validate", "score", "drift", "publish"):
        for folder in folders:
            ask(step=step, folder=folder)
    run = Path(folders[0]).parents[1]
    manifest = record(run, "manifest.json")
    attempts = [record(Path(folder), "scored.json")["attempt"] for folder in folders]
    assert attempts[0] == manifest["attempt"] != attempts[1]
    assert record(run, "scored.json")["attempt"] == manifest["attempt"]
    assert "another attempt" in (Path(folders[1]) / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("point", ["intent written", "folders swapped", "manifest written"])
def test_recovery_puts_the_published_attempts_evidence_in_place(deployment: Path, point: str) -> None:
    tools = open_toolbox(deployment)
    planned = plan_partition(tools, DAY)
    mine, other = begin_attempt(tools, planned), begin_attempt(tools, planned)
    check, scored = step_validate(tools, mine), step_score(tools, mine, done=lambda _: None)
    drift = step_drift(tools, mine, scored)
    assert killed_at(point, lambda: step_publish(tools, mine, check=check, scored=scored, drift=drift))
    run = run_folder(tools, planned)
    tools.publishing.maintenance.recover(now=timing.now().timestamp())
    step_validate(tools, other)
    manifest = record(run, "manifest.json")
    assert manifest["attempt"] == record(run, "scored.json")["attempt"] == scored.attempt
    assert record(run, "plan.json")["attempt"] == mine.attempt
    assert tools.layout.drift(FOLDER, planned.run_id).is_file()


def _refuse(*_: Any) -> None:
    raise ScoringRefused("the rows", "refused")
