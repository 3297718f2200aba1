"""Runs a class of hostile input in a process of its own, which may crash or hang; says what went wrong.

Each case is written to a file before it is tried, so that a process that dies leaves what killed it.
"""

from __future__ import annotations

import faulthandler
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase

from batchdeploy.errors import BatchdeployError

HERE = Path(__file__).resolve().parent
LONGEST_CASE = 10.0
MOST_CRASHES = 20
CHILD = ["-m", "fuzz.watch"]


@dataclass
class Outcome:
    """What came of a class of input.

    Attributes:
        accepted: cases that were taken; the others were refused with a message.
        failures: what went wrong, once for each place it went wrong at, with the shortest case.
    """

    cases: int = 0
    accepted: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, other: Outcome) -> None:
        """Adds another process' outcome."""
        self.cases += other.cases
        self.accepted += other.accepted
        self.slowest = max(self.slowest, other.slowest)
        for what, case in other.failures.items():
            self.fail(what, case)

    def fail(self, what: str, case: str) -> None:
        """Notes a failure."""
        if what not in self.failures or len(case) < len(self.failures[what]):
            self.failures[what] = case


def fuzz(name: str, *, cases: int, seed: int) -> Outcome:
    """Tries so many cases of a class; a process that dies is followed by another with the next seed."""
    whole, began = Outcome(), time.monotonic()
    for crash in range(MOST_CRASHES):
        with tempfile.TemporaryDirectory(prefix=f"fuzz-{name}-") as home:
            wanted = [name, str(cases - whole.cases), str(seed + crash), home]
            done = subprocess.run(
                [sys.executable, *CHILD, *wanted],
                cwd=HERE.parent,
                env=os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE.parent)])},
                capture_output=True,
                text=True,
                check=False,
            )
            told = Path(home, "outcome.json")
            if told.is_file():
                whole.add(Outcome(**json.loads(told.read_text())))
            if done.returncode:
                last = Path(home, "case").read_bytes() if Path(home, "case").is_file() else b""
                what = "hung" if "Timeout (" in done.stderr else f"the process ended with {done.returncode}"
                where = next(
                    (line.strip() for line in done.stderr.splitlines() if "batchdeploy/" in line), ""
                )
                shown = repr(pickle.loads(last)) if last else done.stderr[-2000:]
                whole.fail(f"{what} {where}", shown)
        if not done.returncode or whole.cases >= cases:
            break
    whole.seconds = time.monotonic() - began
    return whole


def _try_all(name: str, cases: int, seed: int, home: Path) -> None:
    from fuzz.targets import TARGETS

    outcome = Outcome()
    strategy, attempt = TARGETS[name](home)
    place = (home / "case").open("wb", buffering=0)

    def told() -> None:
        (home / "outcome.json").write_text(json.dumps(asdict(outcome)))

    def one(case: Any) -> None:
        place.seek(0)
        place.truncate()
        place.write(pickle.dumps(case))
        outcome.cases += 1
        if outcome.cases % 100 == 0:
            told()
        faulthandler.dump_traceback_later(LONGEST_CASE, exit=True)
        began = time.monotonic()
        _attempt(attempt, case, outcome)
        faulthandler.cancel_dump_traceback_later()
        outcome.slowest = max(outcome.slowest, time.monotonic() - began)

    settings = hypothesis.settings(
        max_examples=cases,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    hypothesis.seed(seed)(settings(hypothesis.given(strategy)(one)))()
    told()


def _attempt(attempt: Callable[[Any], bool], case: Any, outcome: Outcome) -> None:
    """One case: taken, refused, or a failure."""
    try:
        outcome.accepted += attempt(case)
    except BatchdeployError as error:
        if not error.problems or (not str(error).isprintable() and "\n" not in str(error)):
            outcome.fail(f"a message that cannot be printed: {type(error).__name__}", repr(case))
    except Exception as error:  # noqa: BLE001
        frames = traceback.extract_tb(error.__traceback__)
        ours = [f for f in frames if "batchdeploy" in Path(f.filename).parts] or frames
        place = f"{Path(ours[-1].filename).name}:{ours[-1].name}"
        outcome.fail(f"{type(error).__name__} in {place}: {str(error)[:100]!r}"[:200], repr(case))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    _try_all(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
