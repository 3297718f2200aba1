"""The usual duration of a run, on fakes: what it is taken from, and what is read for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from fakes import FakeStorage, FakeToolbox, make_tools, rows

from batchdeploy.core.layout import MANIFEST, run_key
from batchdeploy.core.records import Manifest
from batchdeploy.errors import PublishError
from batchdeploy.storage.interface import Entry, Stored
from batchdeploy.workflows.run import run
from batchdeploy.workflows.status import usual_seconds

pytestmark = pytest.mark.usefixtures("no_files")


class WatchedStorage(FakeStorage):
    """Notes which keys are read and which prefixes are listed."""

    def __init__(self, storage: FakeStorage) -> None:
        super().__init__()
        self.touched: list[str] = []
        self._stored = storage._stored

    def read(self, key: str) -> Stored | None:
        self.touched.append(key)
        return super().read(key)

    def list(self, prefix: str) -> Iterator[Entry]:
        self.touched.append(f"{prefix}/*")
        return super().list(prefix)


def published(days: int) -> FakeToolbox:
    """A toolbox with runs of so many days, which took 1, 2, 3, ... seconds."""
    tools = make_tools()
    for number in range(1, days + 1):
        day = f"2024-02-{number:02d}"
        tools.source.put("data", day, *rows(day))
        run_id = run(tools, day).manifest.run_id
        key = run_key(f"date={day}", run_id)
        tools.records.write(key, replace(tools.records.read(key, Manifest), seconds=float(number)))
    return tools


def test_the_usual_duration_is_the_median_of_the_last_twenty_partitions() -> None:
    assert usual_seconds(make_tools()) is None
    assert usual_seconds(published(1)) == 1.0
    assert usual_seconds(published(25)) == 15.5


def test_only_manifests_are_read_for_the_usual_duration() -> None:
    tools = published(3)
    watched = WatchedStorage(tools.storage)
    tools.records = type(tools.records)(watched)
    assert usual_seconds(tools) == 2.0
    assert len(watched.touched) == 3
    assert all(key.endswith(f"/{MANIFEST}") for key in watched.touched), watched.touched


def test_a_partition_whose_run_nobody_can_tell_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    tools = published(3)
    real = tools.table.published_run

    def published_run(folder: str) -> str | None:
        if folder == "date=2024-02-02":
            raise PublishError(folder, "does not hold the files of exactly one run")
        return real(folder)

    monkeypatch.setattr(tools.table, "published_run", published_run)
    assert usual_seconds(tools) == 2.0


def test_a_manifest_that_cannot_be_read_is_passed_over() -> None:
    tools = published(3)
    run_id = tools.table.published_run("date=2024-02-02")
    assert run_id is not None
    key = f"{run_key('date=2024-02-02', run_id)}/{MANIFEST}"
    stored = tools.storage.read(key)
    assert stored is not None
    tools.storage.swap(key, b"{", stored.token)
    tools.records = type(tools.records)(tools.storage)
    assert usual_seconds(tools) == 2.0
