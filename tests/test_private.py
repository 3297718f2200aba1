"""Nobody but its owner reaches the control folder, unless the deployment says otherwise."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from tests_support import Result

from batchdeploy.core.request import StepRequest
from batchdeploy.runtime import open_toolbox
from batchdeploy.steps import take_step

pytestmark = pytest.mark.slow

DAY = "2024-03-02"
Cli = Callable[..., Result]


def mode(folder: Path) -> int:
    return stat.S_IMODE(folder.stat().st_mode)


def test_the_control_folder_is_its_owners_unless_told_otherwise(
    project: Path, deployment: Path, cli: Cli
) -> None:
    table, control = project / "scores" / "churn", project / "scores" / "churn.batchdeploy"
    take_step(open_toolbox(deployment), StepRequest(step="plan", partition=DAY, owner="a"))
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
