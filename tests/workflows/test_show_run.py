"""What is on record about a run, and whether it is whole; on fakes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import FakeStorage, FakeToolbox, make_tools
from fakes.stage_calls import DAY

from batchdeploy.core.deployment import OutputRef
from batchdeploy.core.layout import run_key
from batchdeploy.core.records import Manifest, Plan
from batchdeploy.errors import PublishError
from batchdeploy.storage.interface import write
from batchdeploy.storage.run_records import RunRecords
from batchdeploy.workflows import show_run as module
from batchdeploy.workflows.run import run
from batchdeploy.workflows.show_run import RunView, render_run, show_run
from batchdeploy.workflows.toolbox import Toolbox

pytestmark = pytest.mark.usefixtures("no_files")
Change = Callable[[FakeToolbox, FakeStorage], object]


def published() -> tuple[FakeToolbox, FakeStorage]:
    """A toolbox with one published run, and a storage with a copy of its records under the empty key."""
    tools = make_tools()
    outcome = run(tools, DAY)
    key = run_key(f"date={DAY}", outcome.manifest.run_id)
    copy = FakeStorage()
    for entry in tools.storage.list(key):
        name = entry.key.removeprefix(f"{key}/")
        if "/" not in name:
            found = tools.storage.read(entry.key)
            assert found is not None
            write(copy, name, found.content)
    return tools, copy


def shown(tools: Toolbox, copy: FakeStorage, *, verify: bool = False) -> RunView:
    return show_run(Path("/memory/run"), RunRecords(copy), lambda: tools, verify=verify)


def text_of(view: RunView) -> str:
    return render_run(view, folder="runs/a")


def test_a_whole_run() -> None:
    view = shown(*published())
    assert view.whole
    assert set(view.records) == {"Plan", "CheckReport", "ScoredBatch", "DriftReport", "Manifest"}
    assert (view.files.compared, view.files.files) == ("content", 2)
    assert "whole      yes: 5 records; 2 files compared by SHA-256\nfolder     runs/a" in text_of(view)


def spoil(name: str, content: bytes = b"{") -> Change:
    return lambda _tools, copy: write(copy, name, content)


def remove(name: str) -> Change:
    return lambda _tools, copy: copy.delete(name)


def spoil_rows(tools: FakeToolbox, _copy: FakeStorage) -> None:
    generation = tools.table._visible[f"date={DAY}"]
    name = sorted(generation.files)[0]
    generation.files[name] = generation.files[name].slice(1)


SPOILT: dict[str, tuple[Change, str]] = {
    "no plan": (remove("plan.json"), "plan.json: is not there"),
    "a record that cannot be read": (spoil("check.json"), "check.json: JSON"),
    "an empty manifest": (spoil("manifest.json", b""), "manifest.json: JSON"),
    "a published run without its scores' record": (remove("scored.json"), "scored.json: is not there"),
    "a published run without its drift": (remove("drift.json"), "drift.json: is not there"),
    "rows that are gone": (spoil_rows, ".parquet: was written with"),
}


@pytest.mark.parametrize(("change", "problem"), SPOILT.values(), ids=SPOILT)
def test_what_is_not_whole_is_named_and_the_rest_is_shown(change: Change, problem: str) -> None:
    tools, copy = published()
    change(tools, copy)
    view = shown(tools, copy)
    assert not view.whole
    assert len(view.problems) == 1
    assert problem in str(view.problems[0])
    assert len(view.records) >= 4
    assert "whole      no: " in text_of(view)
    assert problem in text_of(view)


def test_large_files_are_compared_by_size_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_READ", 10)
    tools, copy = published()
    assert "2 files compared by size; --verify reads them" in text_of(shown(tools, copy))
    assert shown(tools, copy, verify=True).files.compared == "content"


def test_an_object_store_is_asked_only_where_that_is_asked_for() -> None:
    tools, copy = published()
    records = RunRecords(copy)
    planned = records.read("", Plan)
    output = OutputRef(path="s3://lake/scores", columns={"y": "double"})
    records.write("", replace(planned, deployment=replace(planned.deployment, output=output)))

    def opened() -> Toolbox:
        raise AssertionError("the table was opened")

    view = show_run(Path("/memory/run"), RunRecords(copy), opened)
    assert (view.files.compared, view.files.reason) == (
        "nothing",
        "they are in s3://lake/scores; --verify reads them",
    )
    assert shown(tools, copy, verify=True).files.compared == "content"


def test_a_run_that_is_not_kept_any_more_is_no_problem() -> None:
    tools, copy = published()
    tools.table._visible.clear()
    view = shown(tools, copy)
    assert view.whole
    assert "files: they are not kept any more" in text_of(view)


def test_a_table_that_cannot_be_opened_does_not_hide_the_records() -> None:
    _, copy = published()

    def refuse() -> Toolbox:
        raise PublishError("the table", "cannot be opened")

    view = show_run(Path("/memory/run"), RunRecords(copy), refuse)
    assert view.whole
    assert "they could not be looked at" in text_of(view)


def test_a_run_that_was_not_published_has_no_files() -> None:
    tools, copy = published()
    for name in ("manifest.json", "drift.json"):
        copy.delete(name)
    view = shown(tools, copy)
    assert view.whole
    assert Manifest.__name__ not in view.records
    assert "files: none was published" in text_of(view)
