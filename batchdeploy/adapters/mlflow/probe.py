"""Loads a new model and predicts a few rows in a separate process, so that a crash does not end the run."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from batchdeploy.adapters.mlflow.probe_process import ANSWER, ROWS
from batchdeploy.errors import EngineError, Problem, ScoringRefused
from batchdeploy.host.file_modes import restrict

MAX_ROWS = 32
PROBE_COMMAND = "from batchdeploy.adapters.mlflow.probe_process import main; main()"
PACKAGES = (
    *("batchdeploy", "mlflow", "numpy", "pandas", "pyarrow", "scikit-learn", "skops", "scipy"),
    *("lightgbm", "xgboost", "xgboost-cpu", "onnxruntime", "onnxruntime-gpu", "catboost", "torch"),
)
STEPS = {"load": "loading the model", "predict": "predicting a few rows", "done": "exiting"}
HINTS: Mapping[int, str] = {
    signal.SIGKILL: "it takes more memory than there is, or somebody has killed it",
    signal.SIGXFSZ: "it writes more than a GiB to a file",
}
CRASH_HINT = "its files crash native code: log it again with the versions that score it, and register that"
# Models probed by this process; another table may not have a marker file for them yet.
PROBED: set[str] = set()


class Probe(NamedTuple):
    """A model to probe.

    Attributes:
        where: the model's name and version, for messages.
        folder: the downloaded model; marker files of earlier probes are beside it.
        seconds: the time limit.
        output: the file for the model's output, written if the probe fails.
        convert: turns a frame of the model's inputs into what the model is called with: the argument and
            the keyword arguments.
    """

    where: str
    folder: Path
    seconds: float
    output: Path
    convert: Callable[[Any], tuple[Any, dict[str, Any]]] = lambda frame: (frame, {})


def probe_model(trial: Probe, rows: Callable[[], Iterable[Any]]) -> None:
    """Loads a model and predicts a few rows, unless a probe with the same package versions has passed.

    Exceptions of the model are ignored here; scoring reports them.

    Args:
        trial: the model to probe.
        rows: returns frames of the model's inputs.

    Raises:
        ScoringRefused: the model ended the process or took too long, or one of its trees is invalid.
        EngineError: the process could not be started.
    """
    mark = trial.folder.with_name(_marker_name(trial.folder.name))
    if mark.name not in PROBED and not mark.is_file():
        frame = next(iter(rows()), None)
        with tempfile.TemporaryDirectory(prefix="batchdeploy-") as scratch:
            if not _probe(trial, Path(scratch), frame):
                return
        PROBED.add(mark.name)
    # Garbage collection removes marker files that were not touched for a month.
    with suppress(OSError):
        mark.touch()
        restrict(mark)


def _probe(trial: Probe, scratch: Path, frame: Any) -> bool:
    """Runs the probe; returns whether it is conclusive and need not be repeated."""
    (scratch / ROWS).write_bytes(_pickle_sample(frame, trial.convert))
    with (scratch / "output").open("w+b") as output:
        code = _run(trial, scratch, output)
        found = _read_answer(scratch)
        step = STEPS[str(found.get("step", "load"))]
        if code is None or code or found.get("step") != "done":
            _save_output(output, trial.output)
            raise ScoringRefused(trial.where, (_exit_problem(step, code, trial.seconds),), hint=_hint(code))
    if broken := found.get("broken"):
        problems = tuple(Problem(**problem) for problem in broken)
        raise ScoringRefused(trial.where, problems, hint="fit the model again, and register that")
    return frame is not None and "missing" not in found


def _run(trial: Probe, scratch: Path, output: Any) -> int | None:
    """Runs the process; returns its exit code, or None after a timeout."""
    command = [sys.executable, "-P", "-c", PROBE_COMMAND, str(trial.folder), str(scratch)]
    path = os.pathsep.join(place or str(Path.cwd()) for place in sys.path)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"},
            start_new_session=True,
        )
    except OSError as error:
        problem = Problem("a process for its first load", "cannot be started", str(error))
        raise EngineError(trial.where, (problem,)) from error
    try:
        return process.wait(trial.seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        # Kills the whole session, including processes that the model left behind.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _exit_problem(step: str, code: int | None, seconds: float) -> Problem:
    if code is None:
        return Problem(step, f"did not end within {seconds:g} s")
    if code < 0:
        return Problem(step, "ended its process by a signal", signal.Signals(-code).name)
    return Problem(step, "ended its process", f"exit code {code}")


def _hint(code: int | None) -> str:
    if code is None:
        return "limits.model_seconds gives it more time"
    if code < 0:
        return HINTS.get(-code, CRASH_HINT)
    return "a model must not end the process that it predicts in"


def _read_answer(scratch: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((scratch / ANSWER).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _pickle_sample(frame: Any, convert: Callable[[Any], tuple[Any, dict[str, Any]]]) -> bytes:
    import pickle

    return pickle.dumps(((), {}) if frame is None else convert(frame.iloc[:MAX_ROWS]))


def _save_output(output: Any, file: Path) -> None:
    output.seek(0)
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(output.read(65_536))


def _marker_name(digest: str) -> str:
    """The name of the marker file: model, platform and the versions that an outcome depends on."""
    text = json.dumps([platform.python_version(), sys.platform, platform.machine(), _versions(PACKAGES)])
    return f"{digest}.tried-{sha256(text.encode()).hexdigest()[:12]}"


@cache
def _versions(names: tuple[str, ...]) -> list[str]:
    """Installed packages among these, with versions; read once per process."""
    found = []
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            found.append(f"{name} {metadata.version(name)}")
    return found
