"""Decisions about comparisons: each is kept, also where two are written at once."""

from __future__ import annotations

import json

from fakes.storage import FakeStorage

from batchdeploy.core.layout import PROMOTIONS
from batchdeploy.storage.comparison_records import ComparisonRecords
from batchdeploy.storage.interface import Stored


class Overtaken(FakeStorage):
    """Another writer adds a line after the first and the second read, before the write."""

    def __init__(self) -> None:
        super().__init__()
        self.others = ["a", "b"]

    def read(self, key: str) -> Stored | None:
        found = super().read(key)
        if self.others:
            line = json.dumps({"by": self.others.pop(0)}).encode() + b"\n"
            if found is None:
                self.create(key, line)
            else:
                self.swap(key, found.content + line, found.token)
        return found


def test_no_decision_is_lost_to_another_writer() -> None:
    storage = Overtaken()
    ComparisonRecords(storage).add_decision({"by": "grace"})
    stored = storage.read(PROMOTIONS)
    assert stored is not None
    lines = stored.content.decode().splitlines()
    assert [json.loads(line)["by"] for line in lines] == ["a", "b", "grace"]
