"""A few of the cases of each class; `make fuzz` tries a hundred thousand."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz import watch
from fuzz.targets import TARGETS
from fuzz.watch import Outcome, fuzz

pytestmark = pytest.mark.slow

CASES = {
    "deployments": 300,
    "suites": 300,
    "references": 600,
    "answers": 1_500,
    "parquet": 800,
    "models": 150,
}


@pytest.mark.parametrize("name", CASES)
def test_hostile_input_is_taken_or_refused_with_a_message(name: str) -> None:
    outcome = fuzz(name, cases=CASES[name], seed=1)
    assert outcome.failures == {}
    assert outcome.cases >= CASES[name] // 2
    # If everything were refused at once, the code behind would not be tested.
    assert outcome.accepted > 0


def test_the_watch_sees_tracebacks() -> None:
    outcome = Outcome()
    watch._attempt(lambda case: 1 // case, 0, outcome)
    (what,) = outcome.failures
    assert what.startswith("ZeroDivisionError in test_fuzz.py")


CRASHING = """
import os, sys, time
import hypothesis.strategies as st
from fuzz import targets, watch
def attempt(case):
    if case == 3:
        {act}
    return True
targets.TARGETS["bad"] = lambda home: (st.integers(0, 5), attempt)
watch.LONGEST_CASE = 0.5
watch._try_all(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), watch.Path(sys.argv[4]))
"""


@pytest.mark.parametrize(
    ("act", "expected"),
    [("os.abort()", "the process ended with -6"), ("time.sleep(60)", "hung")],
    ids=["crash", "hang"],
)
def test_the_watch_sees_crashes_and_hangs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, act: str, expected: str
) -> None:
    child = tmp_path / "child.py"
    child.write_text(CRASHING.format(act=act))
    monkeypatch.setattr(watch, "CHILD", [str(child)])
    monkeypatch.setattr(watch, "MOST_CRASHES", 2)
    outcome = fuzz("bad", cases=40, seed=1)
    (what,) = outcome.failures
    assert what.startswith(expected)
    assert outcome.failures[what] == "3"


def test_a_pickle_that_is_loaded_leaves_the_canary(tmp_path: Path) -> None:
    import pickle

    from fuzz.hostile_models import lay_traps

    lay_traps(tmp_path, tmp_path / "canary", b"")
    pickle.loads((tmp_path / "evil.pkl").read_bytes())
    assert (tmp_path / "canary").exists()


def test_every_class_is_fuzzed() -> None:
    from fuzz.__main__ import CASES as MANY

    assert CASES.keys() == MANY.keys() == TARGETS.keys()
    assert sum(MANY.values()) > 100_000
