"""The flights example for tests: a working copy, deployments beside its own, and what they published."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from ruamel.yaml import YAML

REPOSITORY = Path(__file__).parents[1]
FORTNIGHT = [f"2013-02-{day:02d}" for day in range(1, 15)]


def working_copy(root: Path) -> None:
    """The repository as a stranger would clone it, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (REPOSITORY / name).is_file():
            target = root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((REPOSITORY / name).read_bytes())
            target.chmod((REPOSITORY / name).stat().st_mode)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    commit_all(root, "clone")


def commit_all(root: Path, message: str) -> None:
    """Commits everything in the working tree."""
    author = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "add", "-A"], cwd=root, check=True)
    subprocess.run(["git", *author, "commit", "-q", "--allow-empty", "-m", message], cwd=root, check=True)


def repro(root: Path, *stages: str) -> str:
    """Runs `dvc repro` and gives what it printed."""
    command = ["dvc", "repro", *stages]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def make(root: Path) -> None:
    """A working copy with the flights, the champion and the reference, whose lock file is committed."""
    working_copy(root)
    repro(root, "champion", "reference")
    commit_all(root, "lock")


def deploy(root: Path, name: str, change: Callable[[Any], None] = lambda _: None) -> Path:
    """Another deployment of the flights: the local engine, a table of its own, and a change."""
    yaml = YAML()
    document = yaml.load(root / "dags" / "flights.yaml")
    document["engine"] = {"kind": "local"}
    document["output"]["path"] = f"scores/{name}"
    change(document)
    file = root / "dags" / f"{name}.yaml"
    yaml.dump(document, file)
    return file


def batchdeploy(root: Path, *words: object) -> str:
    """The command line in the project, in a process of its own; gives what it printed."""
    command = [sys.executable, "-m", "batchdeploy", *map(str, words)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def backfill(root: Path, file: Path, days: list[str] = FORTNIGHT) -> pd.DataFrame:
    """Scores days that follow each other, and returns the scores."""
    batchdeploy(root, "backfill", file, "--from", days[0], "--to", days[-1])
    return scores(root, file.stem, days)


def scores(root: Path, name: str, days: list[str] = FORTNIGHT) -> pd.DataFrame:
    """The published scores of days, in the order of their keys."""
    folder = root / "scores" / name
    assert [found.name for found in sorted(folder.glob("date=*"))] == [f"date={day}" for day in days]
    parts = [pq.read_table(folder / f"date={day}", partitioning=None).to_pandas() for day in days]
    frame = pd.concat([part.assign(date=day) for day, part in zip(days, parts, strict=True)])
    frame = frame.drop(columns=["_run_id", "_scored_at"])
    return frame.sort_values(["date", "flight_id"], ignore_index=True)
