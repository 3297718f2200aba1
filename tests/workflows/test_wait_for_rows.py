"""Waiting for rows, on fakes."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from fakes import FakeToolbox, make_tools, rows
from fakes.stage_calls import plan_of

from batchdeploy.core.deployment import OnMissing
from batchdeploy.errors import PartitionError
from batchdeploy.workflows.wait_for_rows import wait_for_rows

pytestmark = pytest.mark.usefixtures("no_files")

LATER = "2024-01-09"


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited; the patch stands for their passing."""
    waited: list[float] = []
    # NOTE: patch this module only; threads that other tests left behind sleep, too.
    clock = SimpleNamespace(sleep=waited.append, monotonic=lambda: sum(waited))
    monkeypatch.setattr(sys.modules[wait_for_rows.__module__], "time", clock)
    return waited


def look(tools: FakeToolbox, on_missing: OnMissing) -> object:
    return wait_for_rows(tools, lambda: plan_of(tools, LATER), on_missing)


def test_rows_that_come_are_waited_for(naps: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    tools = make_tools()

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            tools.source.put("data", LATER, *rows(LATER))

    monkeypatch.setattr(sys.modules[wait_for_rows.__module__].time, "sleep", sleep)
    look(tools, "wait")
    assert naps == [60.0, 60.0, 60.0]


def test_rows_that_do_not_come_fail_in_the_end(naps: list[float]) -> None:
    with pytest.raises(PartitionError, match="no such partition"):
        look(make_tools(), "wait")
    assert sum(naps) == 24 * 3600


@pytest.mark.parametrize("on_missing", ["fail", "skip"])
def test_otherwise_nobody_waits(naps: list[float], on_missing: OnMissing) -> None:
    with pytest.raises(PartitionError):
        look(make_tools(), on_missing)
    assert naps == []
