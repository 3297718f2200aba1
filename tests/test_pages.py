"""A page is drawn last: where it cannot be, that changes no refusal, no publish and no claim."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests_support import Result, customers, edit, write_day

from batchdeploy.assembly import open_toolbox
from batchdeploy.core.request import StepRequest
from batchdeploy.errors import GateRefused
from batchdeploy.workflows import report, run_steps
from batchdeploy.workflows.plan import plan as plan_partition
from batchdeploy.workflows.run import execute
from batchdeploy.workflows.run_folders import run_folder
from batchdeploy.workflows.step import take_step

pytestmark = pytest.mark.slow

DAY = "2024-03-02"
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "report.html")
Cli = Callable[..., Result]


def old(project: Path) -> None:
    write_day(project / "data" / "customers", DAY, customers(DAY).assign(age=200.0))


def aged(project: Path) -> None:
    """Seven in a hundred are older than a model should be asked about."""
    edit("engine:", "policy: {ranges: {age: [0, 85]}}\nengine:")(project)


def drifted(project: Path) -> None:
    edit("churn.json}", "churn.json, on_alarm: block}")(project)
    edit("engine:", "policy: {ranges: {age: [0, 85]}}\nquarantine: {max_share: 0.5}\nengine:")(project)
    write_day(project / "data" / "customers", DAY, customers(DAY).assign(city="Paris"))


GATES = {"validation": (old, 0), "quarantine": (aged, 10), "drift": (drifted, 10)}
FAULTS = {"disk full": FULL, "Ctrl-C": KeyboardInterrupt()}


@pytest.mark.parametrize(("spoil", "quarantined"), GATES.values(), ids=GATES.keys())
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_page_that_cannot_be_drawn_changes_no_refusal(
    project: Path,
    deployment: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], None],
    quarantined: int,
    fault: BaseException,
) -> None:
    spoil(project)

    def failing(*_: Any, **__: Any) -> str:
        raise fault

    monkeypatch.setattr(report, "render_html", failing)
    result = cli("run", deployment, "--partition", DAY)
    assert result.code == 1, result.err
    assert "the page of run" in caplog.text
    tools = open_toolbox(deployment)
    planned = plan_partition(tools, DAY)
    assert (run_folder(tools, planned) / "check.json").is_file()
    kept = tools.layout.quarantine(planned.folder, planned.run_id)
    assert (len(pd.read_parquet(kept)) if kept.is_dir() else 0) >= quarantined
    assert not list((tools.layout.control / "staging").glob("*"))


def test_a_reference_that_went_missing_costs_the_pictures_not_the_page(
    project: Path, deployment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aged(project)
    tools = open_toolbox(deployment)
    gate = run_steps.gate_quarantine

    def removing(*arguments: Any) -> None:
        (project / "data" / "reference" / "churn.json").unlink()
        gate(*arguments)

    monkeypatch.setattr(run_steps, "gate_quarantine", removing)
    planned = plan_partition(tools, DAY)
    with pytest.raises(GateRefused):
        execute(tools, planned)
    assert "</html>" in (run_folder(tools, planned) / "report.html").read_text(encoding="utf-8")


def test_rows_that_cannot_be_kept_change_no_refusal(
    project: Path, deployment: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    aged(project)
    monkeypatch.setattr(
        "batchdeploy.publishing.evidence.EvidenceFolder.keep_quarantine",
        lambda *_: (_ for _ in ()).throw(FULL),
    )
    assert cli("run", deployment, "--partition", DAY).code == 1


def test_a_published_run_without_a_page_is_published_and_its_claim_released(
    project: Path, deployment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step of an orchestrator; on its retries, too."""

    def ask(**request: Any) -> Any:
        return take_step(open_toolbox(deployment), StepRequest(**request, holder="dag/run"))

    folder = ask(step="plan", partition=DAY)["folder"]
    for step in ("validate", "score", "drift"):
        ask(step=step, folder=folder)
    with monkeypatch.context() as patch:
        patch.setattr(report, "render_html", lambda *_, **__: (_ for _ in ()).throw(FULL))
        assert ask(step="publish", folder=folder)["rows"] == 200
        (claim,) = (project / "scores" / "churn.batchdeploy" / "claims").iterdir()
        assert claim.read_bytes() == b""
        assert ask(step="publish", folder=folder, is_retry=True)["rows"] == 200
    run = Path(folder).parents[1]
    assert not (run / "report.html").exists()
    assert ask(step="plan", partition=DAY)["outcome"] == "identical"
    assert "</html>" in (run / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("left", ["missing", "cut"])
def test_a_page_that_is_missing_or_cut_is_drawn_again(deployment: Path, cli: Cli, left: str) -> None:
    def spoil() -> Path:
        text = page.read_text(encoding="utf-8")
        page.unlink()
        if left == "cut":
            page.write_text(text[: len(text) // 2], encoding="utf-8")
        return page

    folder = Path(cli("run", deployment, "--partition", DAY, "--json").json["folder"])
    page = folder / "report.html"
    whole = page.read_text(encoding="utf-8")
    spoil()
    assert cli("run", deployment, "--partition", DAY, "--json").json["status"] == "identical"
    assert page.read_text(encoding="utf-8") == whole
    spoil()
    assert cli("report", folder).code == 0
    assert page.read_text(encoding="utf-8") == whole
