"""Copies of models that nobody uses go, and records stay, whatever way a table is published."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batchdeploy.core.deployment import PublishSpec
from batchdeploy.core.layout import Layout
from batchdeploy.publishing import ParquetSink
from batchdeploy.publishing.pointer import PointerSink

DAY = 86_400.0


@pytest.mark.parametrize("mode", ["swap", "pointer"])
def test_copies_unused_for_a_month_are_pruned_in_both_modes(tmp_path: Path, mode: str) -> None:
    layout = Layout(tmp_path / "scores")
    swap = ParquetSink(layout)
    sink = swap if mode == "swap" else PointerSink(layout, str(layout.table), PublishSpec(mode="pointer"))
    names = (
        "models/old",
        "models/new",
        "models/first-used/m@1.json",
        "models/first-used/x.tmp",
        "suites/old",
    )
    for name in names:
        path = layout.control / name
        if name.startswith("models/") and "first" not in name:
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        age = 1 if name.endswith("new") else 31
        os.utime(path, (100 * DAY - age * DAY,) * 2)
    os.utime(layout.first_uses, (0, 0))
    gone = sink.collect_garbage(now=100 * DAY).leftovers
    assert sorted(gone) == ["models/first-used/x.tmp", "models/old", "suites/old"]
    assert (layout.first_uses / "m@1.json").is_file()
    assert (layout.models / "new").is_dir()
