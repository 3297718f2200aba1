"""A step in another interpreter, with all its processes, ends with the task that started it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from faults.projects import leftovers, seconds_until_gone, session_of
from faults.test_bad_models import declare, register_answer
from tests_support import Result

from batchdeploy.core.request import StepRequest
from batchdeploy.errors import EngineError, MissingPackageError

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
DAY = "2024-03-02"
Cli = Callable[..., Result]
TASK = """
import sys
from pathlib import Path
from batchdeploy.airflow.interpreter import Interpreter
from batchdeploy.core.request import StepRequest
request = StepRequest(step="run", partition=sys.argv[2])
Interpreter(Path(sys.executable), Path(sys.argv[1]), print).take_step(request)
"""
# A step that ignores SIGTERM, and one that ends cleanly but leaves a process behind.
STUBBORN = """
import os, signal, subprocess, sys, time
from batchdeploy.host import process_session
process_session.ORDER_SECONDS = process_session.LEFTOVER_SECONDS = 0.2
if sys.argv[1] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
subprocess.Popen(["sleep", "600"], start_new_session=False, preexec_fn=os.setpgrp)
process_session.stop_with_parent()
print("ready", flush=True)
time.sleep(600)
"""


def hanging_model(project: Path, mark: Path) -> None:
    """A champion that starts a process, names its session and hangs, while the mark's folder is there.

    It does so from the second process on that asks it: in the first one it is tried out.
    """
    place = str(mark)

    def answer(frame: pd.DataFrame) -> Any:
        import os
        import subprocess
        import time

        tried = place + ".tried"
        if os.path.isdir(os.path.dirname(place)) and not os.path.exists(tried):
            with open(tried, "w") as stream:
                stream.write(str(os.getpid()))
        elif os.path.isdir(os.path.dirname(place)) and Path(tried).read_text() != str(os.getpid()):
            subprocess.Popen(["sleep", "600"])
            with open(place + ".tmp", "w") as stream:
                stream.write(str(os.getsid(0)))
            os.rename(place + ".tmp", place)
            time.sleep(600)
        return pd.DataFrame({"y": np.ones(len(frame))})

    mark.parent.mkdir()
    register_answer(project, answer, [("y", "double")])


@pytest.mark.parametrize("engine", ["local", pytest.param("spark", marks=pytest.mark.jvm)])
def test_a_task_that_is_killed_takes_its_step_along(
    project: Path, cli: Cli, tmp_path: Path, engine: str
) -> None:
    mark = tmp_path / "marks" / "asked"
    hanging_model(project, mark)
    deployment = declare(project, "y: {type: double}")
    deployment.write_text(deployment.read_text().replace("kind: local", f"kind: {engine}"))
    task = subprocess.Popen([sys.executable, "-c", TASK, str(deployment), DAY], stdout=subprocess.DEVNULL)
    while not mark.exists():
        assert task.poll() is None
        time.sleep(0.05)
    session = int(mark.read_text())
    assert len(session_of(session)) >= 2, "the step and what its model started"
    task.kill()
    task.wait()
    assert seconds_until_gone(session, most=30) is not None, "the step went on without its task"
    assert leftovers(project / "scores" / "churn.batchdeploy") == []
    shutil.rmtree(mark.parent)
    again = cli("run", deployment, "--partition", DAY, "--json")
    assert again.code == 0, again.err


@pytest.mark.parametrize("kind", ["stubborn", "orderly"])
def test_what_a_step_started_ends_with_it(kind: str) -> None:
    watched, held = os.pipe()
    step = subprocess.Popen(
        [sys.executable, "-c", STUBBORN, kind],
        env=os.environ | {"BATCHDEPLOY_PARENT": str(watched)},
        pass_fds=(watched,),
        start_new_session=True,
        stdout=subprocess.PIPE,
    )
    os.close(watched)
    assert step.stdout is not None
    assert step.stdout.readline() == b"ready\n"
    assert len(session_of(step.pid)) == 2
    os.close(held)
    assert step.wait(30) == (-signal.SIGKILL if kind == "stubborn" else 3)
    assert seconds_until_gone(step.pid, most=10) is not None


def python(folder: Path, body: str) -> Path:
    """An interpreter that does something else."""
    file = folder / "python"
    file.write_text(body, encoding="utf-8")
    file.chmod(0o755)
    return file


def test_a_step_that_is_killed_leaves_nothing_that_its_task_waits_for(
    tmp_path: Path, deployment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from batchdeploy.airflow.interpreter import Interpreter
    from batchdeploy.host import process_session

    # Shortens the wait that a JVM is given.
    monkeypatch.setattr(process_session, "LEFTOVER_SECONDS", 0.2)
    mark = tmp_path / "left"
    other = python(tmp_path, f"#!/bin/sh\nsleep 600 &\necho $! > {mark}\nkill -9 $$\n")
    with pytest.raises(EngineError, match="ended by signal 9"):
        Interpreter(other, deployment, print).take_step(StepRequest(step="plan"))
    state = Path(f"/proc/{int(mark.read_text())}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_an_answer_may_be_long(tmp_path: Path, deployment: Path) -> None:
    from batchdeploy.airflow.interpreter import Interpreter

    long = json.dumps({"outcome": "done", "markdown": "x" * 300_000})
    (tmp_path / "answer").write_text(long)
    other = python(tmp_path, f"#!/bin/sh\ncat {tmp_path / 'answer'}\n")
    answer = Interpreter(other, deployment, print).take_step(StepRequest(step="plan"))
    assert len(answer["markdown"]) == 300_000


def test_an_interpreter_that_cannot_be_started(tmp_path: Path, deployment: Path) -> None:
    from batchdeploy.airflow.interpreter import Interpreter

    with pytest.raises(MissingPackageError, match="cannot be started"):
        Interpreter(python(tmp_path, "no program"), deployment, print).take_step(StepRequest(step="plan"))
