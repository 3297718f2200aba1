"""Nobody but its owner reaches the control folder, unless the deployment says otherwise."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from tests_support import Result

from batchdeploy.assembly import open_toolbox, records_in
from batchdeploy.core.request import Decision, StepRequest
from batchdeploy.errors import PromotionRefused
from batchdeploy.workflows.compare_models import compare_models
from batchdeploy.workflows.promote import promote
from batchdeploy.workflows.step import take_step

pytestmark = pytest.mark.slow

DAY, OTHER = "2024-03-02", "2024-03-03"
Cli = Callable[..., Result]


def mode(folder: Path) -> int:
    return stat.S_IMODE(folder.stat().st_mode)


def test_the_control_folder_is_its_owners_unless_told_otherwise(
    project: Path, deployment: Path, cli: Cli
) -> None:
    table, control = project / "scores" / "churn", project / "scores" / "churn.batchdeploy"
    take_step(open_toolbox(deployment), StepRequest(step="plan", partition=DAY, holder="a"))
    assert mode(control) == 0o700
    control.chmod(0o755)
    assert cli("run", deployment, "--partition", DAY).code == 0
    assert mode(control) == 0o700
    (project / "usual").mkdir()
    assert {mode(folder) for folder in (table, *table.iterdir())} == {mode(project / "usual")}
    text = deployment.read_text(encoding="utf-8")
    deployment.write_text(text + 'publish: {control_mode: "0770"}\n', encoding="utf-8")
    assert cli("run", deployment, "--partition", DAY, "--force").code == 0
    assert mode(control) == 0o770
    deployment.write_text(text + 'publish: {control_mode: "0077"}\n', encoding="utf-8")
    wrong = cli("check", deployment)
    assert (wrong.code, "publish.control_mode" in wrong.err) == (2, True)


def test_the_first_record_finds_the_control_folder_closed(tmp_path: Path) -> None:
    record = tmp_path / "scores" / "churn.batchdeploy" / "runs" / "date=2024-03-02" / "report.html"
    (tmp_path / "usual").mkdir()
    records_in(record.parent).write_page("", "<html>")
    assert (mode(record.parents[2]), mode(record)) == (0o700, 0o600)
    assert mode(record.parents[3]) == mode(tmp_path / "usual")


@pytest.mark.parametrize("publishing", ["swap", "pointer"])
def test_files_that_stay_in_the_control_folder_have_its_mode(
    project: Path, deployment: Path, cli: Cli, publishing: str
) -> None:
    text = deployment.read_text(encoding="utf-8").replace(
        "keep: [city]", "keep: [city]\npolicy: {ranges: {age: [0, 85]}}"
    )
    (project / "usual").touch()
    for control_mode, share, wanted in (("0700", 0.5, 0o600), ("0750", 0.5, 0o640), ("0700", 0.0, 0o600)):
        publish = f'publish: {{mode: {publishing}, control_mode: "{control_mode}"}}\n'
        deployment.write_text(f"{text}quarantine: {{max_share: {share}}}\n{publish}", encoding="utf-8")
        done = cli("run", deployment, "--partition", DAY, "--force")
        assert done.code == (0 if share else 1), done.err
        seen, comparison = compare_models(open_toolbox(deployment), OTHER, "2")
        decision = Decision(approved=False, by="somebody", at=seen.compared_at)
        with pytest.raises(PromotionRefused):
            promote(open_toolbox(deployment), comparison, decision)
        control = project / "scores" / "churn.batchdeploy"
        files = kept(control)
        assert {path: oct(mode(path)) for path in files if mode(path) != wanted} == {}
        names = {path.name.partition("-")[0] for path in files}
        assert {"plan.json", "scored.json", "report.html", "part", "promotions.jsonl"} <= names
        public = [path for path in (project / "scores" / "churn").rglob("*") if path.is_file()]
        assert {mode(path) for path in public} == {mode(project / "usual")}


def kept(control: Path) -> list[Path]:
    """The files that stay: not staging, and not what was public once."""
    gone = {"staging", "retired", "trash"}
    files = [path for path in control.rglob("*") if path.is_file()]
    return [path for path in files if path.relative_to(control).parts[0] not in gone]
