"""A project for the long trials: data, a registered model, the command line, and the expected scores."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from conftest import DEPLOYMENT, SUITE, write
from tests_support import SCHEMA, build_project, customers

DAYS = ("2024-03-01", "2024-03-02", "2024-03-03")


def make_project(root: Path, *, engine: str, extra: str = "", rows: int = 200, files: int = 1) -> Path:
    """Creates a project with three days and returns the deployment's file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        build_project(root, DAYS)
    write(root / "expectations" / "customers.json", json.dumps(SUITE))
    write(root / "dvc.yaml", "stages: {}\n")
    text = DEPLOYMENT.replace("engine: {kind: local}", f"engine: {engine}") + extra
    if files > 1:
        for day in DAYS:
            frame = customers(day, rows)
            table = pa.Table.from_pandas(frame, schema=SCHEMA, preserve_index=False)
            folder = root / "data" / "customers" / f"date={day}"
            size = -(-len(table) // files)
            for number in range(files):
                pq.write_table(table.slice(number * size, size), folder / f"part-{number}.parquet")
        text = text.replace("drift: {reference: data/reference/churn.json}\n", "")
    return write(root / "dags" / "churn.yaml", text)


def start(deployment: Path, day: str, *options: str) -> subprocess.Popen[str]:
    """`batchdeploy run` in a session of its own, and with Ctrl-C as in a terminal.

    A shell that starts something in the background has it ignore Ctrl-C, and so all that it starts.
    """
    asked = [str(deployment), "--partition", day, *options]
    return subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, "-m", "batchdeploy", "run", *asked],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def must(process: subprocess.Popen[str]) -> None:
    """Waits for a run that has to succeed."""
    said = process.communicate()
    assert process.returncode == 0, said


def session_of(pid: int) -> list[int]:
    """The living processes of a session; its leader may be gone."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[3]) == pid and fields[0] not in "ZX":
                found.append(int(entry))
    return found


def seconds_until_gone(session: int, *, most: float) -> float | None:
    """The seconds until a session has no process left; kills all and returns None if it takes too long."""
    began = time.monotonic()
    while session_of(session):
        if time.monotonic() - began > most:
            for pid in session_of(session):
                os.kill(pid, signal.SIGKILL)
            return None
        time.sleep(0.02)
    return time.monotonic() - began


def first_scores(deployment: Path, days: Sequence[str]) -> dict[str, dict[str, float]]:
    """The scores of undisturbed runs by day, which all later runs must publish, too."""
    expected = {}
    for day in days:
        must(start(deployment, day))
        root = deployment.parents[1] / "scores" / "churn"
        expected[day] = scores_in(root / f"date={day}")
    return expected


def scores_in(folder: Path) -> dict[str, float]:
    """The published scores of a partition by key; fails for duplicate keys or mixed runs."""
    tables = [pq.read_table(file, partitioning=None) for file in sorted(folder.glob("*.parquet"))]
    table = pa.concat_tables(tables)
    assert len(set(table["_run_id"].to_pylist())) == 1, "mixed runs"
    keys = table["customer_id"].to_pylist()
    assert len(set(keys)) == len(keys), "a key is there twice"
    return dict(zip(keys, table["churn_probability"].to_pylist(), strict=True))


def same_scores(first: dict[str, float], second: dict[str, float]) -> bool:
    """The same keys with the same scores."""
    return first.keys() == second.keys() and bool(
        np.allclose([first[k] for k in first], [second[k] for k in first], rtol=0, atol=1e-12)
    )


def leftovers(control: Path) -> list[str]:
    """Leftovers that no active run explains: staging, intents, trash, half-written records."""
    found = [
        f"{place}/{name}"
        for place in ("staging", "intents", "trash")
        if (control / place).is_dir()
        for name in os.listdir(control / place)
    ]
    return found + [str(path.relative_to(control)) for path in control.rglob("*.tmp")]
