"""A model's first load and first rows, in a process of its own: whatever dies there is not the run."""

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
STEPS = {"load": "loading it", "predict": "asking it about a few rows", "done": "its end"}
HINTS: Mapping[int, str] = {
    signal.SIGKILL: "it takes more memory than there is, or somebody has killed it",
    signal.SIGXFSZ: "it writes more than a GiB to a file",
}
CRASH_HINT = "its files crash native code: log it again with the versions that score it, and register that"
# NOTE: what was tried in this process; another table has no mark of it yet.
PROBED: set[str] = set()


class Probe(NamedTuple):
    """What is to be tried.

    Attributes:
        where: the model's name and version, for messages.
        folder: the fetched copy; marks of what was tried lie beside it.
        seconds: how long it may take.
        output: gets what it printed, where it does not come to its end.
    """

    where: str
    folder: Path
    seconds: float
    output: Path


def probe_model(trial: Probe, rows: Callable[[], Iterable[Any]]) -> None:
    """Loads a model and asks it about a few rows where it was not tried yet with these versions.

    What it raises there is left for the scoring to find.

    Args:
        trial: what is to be tried.
        rows: gives frames of the model's inputs.

    Raises:
        ScoringRefused: the process was ended by the model, or by its time; or a tree of it is broken.
        EngineError: no process could be started.
    """
    mark = trial.folder.with_name(_marker_name(trial.folder.name))
    if mark.name not in PROBED and not mark.is_file():
        frame = next(iter(rows()), None)
        with tempfile.TemporaryDirectory(prefix="batchdeploy-") as scratch:
            if not _probe(trial, Path(scratch), frame):
                return
        PROBED.add(mark.name)
    # NOTE: what nobody has used for a month is removed.
    with suppress(OSError):
        mark.touch()
        restrict(mark)


def _probe(trial: Probe, scratch: Path, frame: Any) -> bool:
    """Whether this is not to be tried again."""
    (scratch / ROWS).write_bytes(_pickle_sample(frame))
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
    """Runs the process to its end; gives how it ended, None where its time did."""
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
        # NOTE: also what the model has started, and has left behind.
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
    return "a model must not end the process that it is asked in"


def _read_answer(scratch: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((scratch / ANSWER).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _pickle_sample(frame: Any) -> bytes:
    import pickle

    return pickle.dumps(() if frame is None else frame.iloc[:MAX_ROWS])


def _save_output(output: Any, file: Path) -> None:
    output.seek(0)
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(output.read(65_536))


def _marker_name(digest: str) -> str:
    """Names what an outcome depends on: the model, the platform, and what loads it."""
    text = json.dumps([platform.python_version(), sys.platform, platform.machine(), _versions(PACKAGES)])
    return f"{digest}.tried-{sha256(text.encode()).hexdigest()[:12]}"


@cache
def _versions(names: tuple[str, ...]) -> list[str]:
    """Those packages that are installed, with their versions; asked once in a process."""
    found = []
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            found.append(f"{name} {metadata.version(name)}")
    return found
