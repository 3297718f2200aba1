"""An hour of runs, about every fifth of them killed, beside a process that goes on all the time."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from faults.killing import descriptors, finished, in_child
from faults.projects import (
    DAYS,
    first_scores,
    leftovers,
    make_project,
    same_scores,
    scores_in,
    seconds_until_gone,
    start,
)

KILL_SHARE = 0.2
# Leaves some of the machine to others during an hour's soak.
PAUSE = 1.5


def soak(home: Path, *, minutes: float, seed: int) -> dict[str, Any]:
    """One process runs a partition again and again; beside it command lines come, and a fifth is killed.

    Gives first and last figures of the steady process (after a fifth of the time, when caches are full), of
    the control folder, and what was left behind.
    """
    deployment = make_project(home, engine="{kind: local}", extra="publish: {reader_seconds: 0}\n")
    root = home / "scores" / "churn"
    expected = first_scores(deployment, DAYS)
    end = time.time() + minutes * 60
    steady = in_child(_steadily(deployment, end))
    counts, found, sizes = Counter[str](), [], []
    random_ = random.Random(seed)
    while time.time() < end:
        day = random_.choice(DAYS[1:])
        process = start(deployment, day, "--force")
        kill = random_.random() < KILL_SHARE
        if kill:
            time.sleep(random_.random() * 4)
            process.send_signal(signal.SIGKILL)
        _, err = process.communicate()
        counts["runs"] += 1
        counts["killed"] += process.returncode == -signal.SIGKILL
        if process.returncode not in (0, -signal.SIGKILL):
            found.append(f"ended with {process.returncode}: {err[-300:]}")
        if seconds_until_gone(process.pid, most=10) is None:
            found.append("an orphan process")
        if not same_scores(scores_in(root / f"date={day}"), expected[day]):
            found.append(f"{day} shows other scores")
        time.sleep(PAUSE)
        sizes.append(sum(1 for _ in root.with_name("churn.batchdeploy").rglob("*")))
    code, lines = finished(*steady)
    figures = [tuple(map(int, line.split())) for line in lines]
    process = start(deployment, DAYS[1], "--force")
    process.communicate()
    warm = len(figures) // 5
    names = ("memory KiB", "descriptors", "threads")
    return {
        "minutes": minutes,
        "seed": seed,
        "steady runs": len(figures),
        **counts,
        **{
            name: {"after a fifth": figures[warm][place], "at the end": figures[-1][place]}
            for place, name in enumerate(names)
        },
        "files in the control folder": {"after a fifth": sizes[len(sizes) // 5], "at the end": sizes[-1]},
        "leftovers": leftovers(root.with_name("churn.batchdeploy")),
        "violations": found + ([] if code == 0 else [f"the steady process ended with {code}"]),
    }


def _steadily(deployment: Path, end: float) -> Callable[[Callable[[str], None]], None]:
    def work(tell: Callable[[str], None]) -> None:
        from batchdeploy.assembly import open_toolbox
        from batchdeploy.workflows.run import run as run_partition

        os.setsid()
        me = psutil.Process()
        tools = open_toolbox(deployment)
        while time.time() < end:
            run_partition(tools, DAYS[0], repeat=True)
            time.sleep(PAUSE)
            tell(f"{me.memory_info().rss // 1024} {descriptors()} {threading.active_count()}")
        sys.stdout.flush()

    return work
