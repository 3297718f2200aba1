"""Runs steps in another Python, so that Airflow's environment needs only batchdeploy's light core."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from batchdeploy import errors
from batchdeploy.core.request import Answer, StepRequest
from batchdeploy.documents import to_json
from batchdeploy.errors import (
    BatchdeployError,
    EngineError,
    GateRefused,
    MissingPackageError,
    OutsideError,
    Problem,
)
from batchdeploy.host.process_session import PARENT_VARIABLE, end_leftovers, end_session
from batchdeploy.host.project_root import ROOT_VARIABLE
from batchdeploy.redaction import redact

LAST_LINES = 5


class Interpreter:
    """Runs each step as ``PYTHON -m batchdeploy step`` in a new process session.

    Args:
        python: the interpreter.
        deployment: the deployment's file.
        log: called with every line that the process writes to stderr.
        root: the project's root if it is already known.
    """

    def __init__(
        self, python: Path, deployment: Path, log: Callable[[str], None], *, root: Path | None = None
    ) -> None:
        self._python = python
        self._root = root
        self._deployment = deployment
        self._log = log
        self._running: int | None = None

    def take_step(self, request: StepRequest) -> Answer:
        """Runs the step in the other interpreter, and raises its errors here.

        Raises:
            MissingPackageError: the interpreter does not exist, or cannot import batchdeploy.
            EngineError: the process was killed, or its answer cannot be read.
        """
        command = [str(self._python), "-m", "batchdeploy", "step", str(self._deployment)]
        if not os.access(self._python, os.X_OK):
            what = f"no such interpreter: {self._python}; relative paths start at the project's root"
            problem = Problem("airflow.python", what)
            raise MissingPackageError("the deployment", (problem,))
        # The step watches one end of the pipe, and stops when the other is closed or this process dies.
        watched, held = os.pipe()
        try:
            answer, lines, code = self._run([*command, "--request", to_json(request)], watched)
        finally:
            os.close(held)
        return _read(answer, code, lines[-LAST_LINES:])

    def _run(self, command: list[str], watched: int) -> tuple[str, list[str], int]:
        """Returns (stdout, stderr lines, exit code) after the process and all its children have ended."""
        environment = _environment(self._root) | {PARENT_VARIABLE: str(watched)}
        try:
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                env=environment,
                start_new_session=True,
                pass_fds=(watched,),
            )
        except OSError as error:
            problem = Problem("airflow.python", "cannot be started", str(error))
            raise MissingPackageError("the deployment", (problem,)) from error
        finally:
            os.close(watched)
        assert process.stderr is not None
        assert process.stdout is not None
        lines = []
        with process, ThreadPoolExecutor(2) as beside:
            self._running = process.pid
            # A leftover child may hold stderr open, and the loop below reads it to the end.
            beside.submit(end_leftovers, process.pid)
            answer = beside.submit(process.stdout.read)
            try:
                for line in process.stderr:
                    lines.append(redact(line.rstrip()))
                    self._log(lines[-1])
            except BaseException:
                self.kill()
                raise
        self._running = None
        return answer.result(), lines, process.returncode

    def kill(self) -> None:
        """Kills the process and all its children."""
        if self._running is not None:
            end_session(self._running)


def _environment(root: Path | None) -> dict[str, str]:
    """This environment without variables that point to this interpreter's packages, with the same root."""
    added = {} if root is None else {ROOT_VARIABLE: str(root)}
    dropped = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    return {k: v for k, v in os.environ.items() if k not in dropped} | added


def _read(answer: str, code: int, lines: list[str]) -> Answer:
    try:
        document = json.loads(answer)
    except ValueError:
        if any("No module named batchdeploy" in line for line in lines):
            problem = Problem("airflow.python", "batchdeploy is not installed there")
            raise MissingPackageError("the deployment", (problem,)) from None
        ended = f"ended by signal {-code}" if code < 0 else f"ended with code {code}"
        raise EngineError(
            "the step's process", (Problem(ended, " ".join(lines) or "said nothing"),)
        ) from None
    if error := document.get("error"):
        raise _error(error)
    return dict(document)


def _error(document: dict[str, Any]) -> BatchdeployError:
    kind = getattr(errors, document["kind"], OutsideError)
    problems = tuple(Problem(**problem) for problem in document["problems"])
    made: BatchdeployError = kind(document["where"], problems, hint=document["hint"])
    if isinstance(made, GateRefused):
        made.folder, made.run_id = document.get("folder"), document.get("run_id")
    return made
