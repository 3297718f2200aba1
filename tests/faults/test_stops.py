"""A run that is stopped ends at once, leaves no process, and says whether it published."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests_support import Result

from batchdeploy.assembly import open_toolbox
from batchdeploy.errors import RunStopped
from batchdeploy.workflows import report, run_steps
from batchdeploy.workflows.run import run as run_partition
from batchdeploy.workflows.stopping import Stop
from faults.projects import leftovers, seconds_until_gone, session_of, start
from faults.test_bad_models import declare, register_answer

DAY = "2024-03-02"
Cli = Callable[..., Result]
SIGNALS = {"SIGTERM": signal.SIGTERM, "Ctrl-C": signal.SIGINT}

pytestmark = pytest.mark.slow


def slow_model(project: Path, mark: Path) -> None:
    """While the mark's folder exists, the champion marks its call and takes a minute to predict."""
    place = str(mark)

    def answer(frame: pd.DataFrame) -> Any:
        import os
        import time

        if os.path.isdir(os.path.dirname(place)):
            with open(place, "w") as stream:
                stream.write("asked")
            time.sleep(60)
        return pd.DataFrame({"y": np.ones(len(frame))})

    mark.parent.mkdir()
    register_answer(project, answer, [("y", "double")])


def stopped(process: subprocess.Popen[str], mark: Path, end: Callable[[], None]) -> tuple[int, str]:
    """Waits until the model predicts, stops the run, and returns its exit code and output."""
    while not mark.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    # A fault that never happened would prove nothing.
    assert len(session_of(process.pid)) >= 1
    end()
    _, err = process.communicate(timeout=60)
    assert seconds_until_gone(process.pid, most=10) is not None, "an orphan process"
    return process.returncode, err


@pytest.mark.parametrize(
    ("engine", "how"),
    [
        ("local", "SIGTERM"),
        ("local", "Ctrl-C"),
        pytest.param("spark", "SIGTERM", marks=pytest.mark.jvm),
        pytest.param("spark", "Ctrl-C", marks=[pytest.mark.jvm, pytest.mark.trial]),
    ],
)
def test_a_signal_ends_a_run_and_all_its_processes(
    project: Path, cli: Cli, tmp_path: Path, engine: str, how: str
) -> None:
    mark = tmp_path / "marks" / "asked"
    slow_model(project, mark)
    deployment = declare(project, "y: {type: double}")
    deployment.write_text(deployment.read_text().replace("kind: local", f"kind: {engine}"))
    process = start(deployment, DAY)
    code, err = stopped(process, mark, lambda: process.send_signal(SIGNALS[how]))
    assert code == 3, err
    assert f"was stopped by {how}" in err
    assert "nothing was published; run it again" in err
    assert "Traceback" not in err
    assert "incubator" not in err, "a line of the JVM that says nothing"
    assert not (project / "scores" / "churn").exists()
    assert leftovers(project / "scores" / "churn.batchdeploy") == []
    mark.unlink()
    mark.parent.rmdir()
    again = cli("run", deployment, "--partition", DAY, "--json")
    assert again.code == 0, again.err
    assert again.json["manifest"]["rows_scored"] == 200


def test_a_whole_terminal_that_is_interrupted_gives_one_message(project: Path, tmp_path: Path) -> None:
    """Ctrl-C reaches every process of a terminal, the workers too."""
    mark = tmp_path / "marks" / "asked"
    slow_model(project, mark)
    process = start(declare(project, "y: {type: double}"), DAY)
    code, err = stopped(process, mark, lambda: os.killpg(process.pid, signal.SIGINT))
    assert code == 3, err
    assert err.count("was stopped by Ctrl-C") == 1
    assert "Traceback" not in err


def test_a_run_ends_when_its_time_is_up(project: Path, tmp_path: Path) -> None:
    mark = tmp_path / "marks" / "asked"
    slow_model(project, mark)
    deployment = declare(project, "y: {type: double}", "limits: {minutes: 0.15}\n")
    process = start(deployment, DAY)
    # On a busy machine the time is up before the model predicts.
    _, err = process.communicate()
    assert seconds_until_gone(process.pid, most=10) is not None, "an orphan process"
    assert process.returncode == 3, err
    assert "was stopped by limits.minutes = 0.15" in err
    assert "nothing was published" in err
    assert not (project / "scores" / "churn").exists()


def test_a_stop_while_the_report_is_drawn_says_that_the_scores_are_out(
    deployment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = open_toolbox(deployment)

    def stopped_here(*_: object) -> None:
        raise Stop("SIGTERM")

    monkeypatch.setattr(report, "draw_report", stopped_here)
    with pytest.raises(RunStopped, match="the scores were published already"):
        run_partition(tools, DAY)
    assert tools.publishing.table.published_run(f"date={DAY}") is not None


def test_the_status_of_a_run_that_was_stopped_is_not_refused(
    deployment: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped_here(*_: object, **__: object) -> None:
        raise Stop("Ctrl-C")

    with monkeypatch.context() as patch:
        patch.setattr(run_steps, "score", stopped_here)
        assert cli("run", deployment, "--partition", DAY).code == 3
    found = cli("status", deployment, "--json").json["partitions"]
    assert [row["state"] for row in found if row["partition"] == DAY] == ["stopped"]
