"""A run's folder, found by its id through the records."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from fakes import FakeStorage
from tests_support import plan

from batchdeploy.core.layout import attempt_key, run_key
from batchdeploy.errors import RequestError
from batchdeploy.storage.run_records import RunRecords
from batchdeploy.workflows.find_run import find_run, find_runs

FIRST, SECOND = plan("a", None), plan("b", None)
RUN = run_key(FIRST.folder, FIRST.run_id)
OTHER = run_key(SECOND.folder, SECOND.run_id)
ATTEMPT = attempt_key(FIRST.folder, FIRST.run_id, "20240101beef")


def records() -> RunRecords:
    """The records of two runs, one of which has an attempt."""
    records = RunRecords(FakeStorage())
    for key, planned in ((RUN, FIRST), (ATTEMPT, FIRST), (OTHER, SECOND)):
        records.write(key, planned)
    return records


@pytest.mark.parametrize(
    ("beginning", "found"),
    [("aaa", [RUN]), ("b" * 16, [OTHER]), ("20240101", [ATTEMPT]), ("c", []), ("", [])],
)
def test_runs_are_looked_up_in_the_records(beginning: str, found: list[str]) -> None:
    control = Path("/memory/scores.batchdeploy")
    opened = records()
    told = find_runs(control, beginning, records_in=lambda _folder: opened)
    assert told == [control / key for key in found]


def test_all_control_folders_of_a_project_are_searched(tmp_path: Path) -> None:
    opened = {}
    for name in ("scores", "deep/er/scores", ".venv/lib/scores", "data/date=1/scores"):
        control = tmp_path / f"{name}.batchdeploy"
        control.mkdir(parents=True)
        opened[control] = records()
    find = partial(find_runs, tmp_path, records_in=lambda folder: opened[folder])
    searched = (tmp_path / "deep/er/scores.batchdeploy", tmp_path / "scores.batchdeploy")
    assert find("bbbb") == [control / OTHER for control in searched]


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        ("c", "no such run", "look elsewhere"),
        ("../..", "no such run", "look elsewhere"),
        ("", "no such", "look"),
    ],
)
def test_a_run_that_is_not_there(text: str, problem: str, hint: str) -> None:
    with pytest.raises(RequestError, match=problem) as refused:
        find_run(text, Path("/memory/s.batchdeploy"), records_in=lambda _: records(), hint="look elsewhere")
    assert hint in str(refused.value)


def test_a_beginning_that_several_runs_have() -> None:
    opened = records()
    opened.write(run_key("date=2024-01-02", FIRST.run_id), FIRST)
    with pytest.raises(RequestError, match="several runs match") as refused:
        find_run("aa", Path("/memory/s.batchdeploy"), records_in=lambda _: opened)
    assert "give more of its id" in str(refused.value)


def test_a_folder_is_its_own_answer(tmp_path: Path) -> None:
    (tmp_path / "plan.json").touch()
    assert find_run(str(tmp_path), Path("/nowhere"), records_in=lambda _: records()) == tmp_path
