"""Implements `batchdeploy init`: copies the starter project and runs its pipeline once."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.resources import as_file, files
from pathlib import Path
from shlex import quote

from batchdeploy.errors import OutsideError, Problem, RequestError
from batchdeploy.host.packages import require_all

PROJECT_FILES = (
    "README.md",
    "dags/progression.py",
    "dags/progression.yaml",
    "dvc.yaml",
    "expectations/patients.json",
    "gitignore",
    "pipeline.py",
)


def write_project(folder: Path) -> tuple[str, ...]:
    """Writes the project, creates its data and registers its model.

    Returns:
        The files written, relative to the folder.

    Raises:
        RequestError: the folder is not empty; nothing is overwritten.
        OutsideError: the pipeline failed; the project is written, and its pipeline can be run by hand.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RequestError(
            str(folder), "is not an empty folder; nothing was written", hint="batchdeploy init NEW"
        )
    require_all({"mlflow": "the model", "gx": "the suite"})
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with as_file(files("batchdeploy.examples.starter")) as source:
        for name in PROJECT_FILES:
            target = folder / name.replace("gitignore", ".gitignore")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((source / name).read_bytes())
            written.append(str(target.relative_to(folder)))
    _run_pipeline(folder)
    return tuple(sorted(written))


def _run_pipeline(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "pipeline.py"],
        cwd=folder,
        env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise OutsideError(
            str(folder),
            (Problem("pipeline.py", "failed", lines[-1]),),
            hint=f"cd {quote(str(folder))} && {quote(sys.executable)} pipeline.py",
        )
