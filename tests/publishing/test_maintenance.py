"""Maintenance does the same to the control folder of a table, whatever its mode."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from faults.killing import killed_at
from faults.publishing import manifest, plan, publish, run_name, stage

from batchdeploy.core.deployment import OutputRef, PublishSpec
from batchdeploy.core.layout import Layout
from batchdeploy.core.maintenance import CleanupReport
from batchdeploy.errors import PublishError
from batchdeploy.ports import TableAccess
from batchdeploy.publishing.attempts import Attempts
from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.publishing.maintenance import TableMaintenance
from batchdeploy.publishing.opening import open_table
from batchdeploy.publishing.trash import Trash

DAY = 86_400.0
FOLDER = "date=2024-01-01"
Mode = Literal["swap", "pointer"]
A, B, C = (run_name(number) for number in range(3))


@pytest.fixture(params=["swap", "pointer"])
def mode(request: pytest.FixtureRequest) -> Mode:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "scores")


@pytest.fixture
def access(layout: Layout, mode: Mode) -> TableAccess:
    return opened(layout, mode)


def opened(layout: Layout, mode: Mode) -> TableAccess:
    spec = PublishSpec(mode=mode, durability="process", reader_seconds=60)
    return open_table(layout, OutputRef(path=str(layout.table), columns={}, keep=()), spec)


def test_copies_unused_for_a_month_are_pruned_in_both_modes(access: TableAccess, layout: Layout) -> None:
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
    gone = access.maintenance.collect_garbage(now=100 * DAY).leftovers
    assert sorted(gone) == ["models/first-used/x.tmp", "models/old", "suites/old"]
    assert (layout.first_uses / "m@1.json").is_file()
    assert (layout.models / "new").is_dir()


def test_half_written_records_and_given_up_intents_go_after_an_hour(
    access: TableAccess, layout: Layout
) -> None:
    names = [f"runs/{FOLDER}/{A}/check.json.tmp", "locks/x.tmp", "intents/x.lost", "control.json.1f.tmp"]
    for name in names:
        (layout.control / name).parent.mkdir(parents=True, exist_ok=True)
        (layout.control / name).touch()
    now = time.time()
    assert access.maintenance.collect_garbage(now=now + 3_500).leftovers == ()
    assert sorted(access.maintenance.collect_garbage(now=now + 3_700).leftovers) == sorted(names)


def test_attempts_of_dead_processes_and_orphans_are_swept(
    access: TableAccess, layout: Layout, mode: Mode
) -> None:
    assert killed_at("attempt begun", lambda: stage(opened(layout, mode), FOLDER, A))
    orphan, mine = stage(access, FOLDER, B), stage(access, FOLDER, C)
    access.staging.hand_over(orphan.attempt)
    (swept,) = access.maintenance.recover(now=time.time()).attempts
    assert swept.startswith(A)
    assert access.maintenance.recover(now=time.time() + 8 * DAY).attempts == (orphan.attempt,)
    assert sorted(os.listdir(layout.staging)) == [mine.attempt, f"{mine.attempt}.alive"]


def test_a_store_that_does_not_answer_is_named(tmp_path: Path) -> None:
    class Silent:
        def finish(self) -> tuple[str, ...]:
            raise OSError("the store cannot be reached")

        def prune(self, now: float) -> CleanupReport:
            raise NotImplementedError

    layout, spec = Layout(tmp_path / "scores", "s3://lake/scores.batchdeploy"), PublishSpec(mode="pointer")
    local = ControlFolder.of(Layout(tmp_path / "scores"), spec)
    table = TableMaintenance(layout, attempts=Attempts(layout), trash=Trash(local), mode=Silent())
    with pytest.raises(PublishError, match=r"in s3://lake/scores.batchdeploy:\n- store: the store cannot"):
        table.recover(now=0)


def test_trash_stays_for_its_readers_and_goes_then(access: TableAccess, layout: Layout) -> None:
    (layout.trash / "old").mkdir(parents=True)
    now = time.time()
    access.maintenance.recover(now=now + 50)
    assert (layout.trash / "old").is_dir()
    access.maintenance.recover(now=now + 70)
    assert not layout.trash.exists()


def test_a_table_that_nothing_was_done_with_is_left_alone(access: TableAccess, layout: Layout) -> None:
    report = access.maintenance.collect_garbage(now=time.time())
    assert (report.finished, report.attempts, report.generations, report.leftovers) == ((), (), (), ())
    assert not layout.control.exists()


def test_an_audit_line_is_written_once_however_often_its_run_is_recovered(
    access: TableAccess, layout: Layout
) -> None:
    publish(access, FOLDER, A, None)
    publish(access, FOLDER, B, A)
    (layout.run(FOLDER, B) / "manifest.json").unlink()
    for _ in range(2):
        access.maintenance.recover(now=time.time())
    lines = layout.audit.read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(set(lines)) == 2


def test_claims_hold_for_one_run_at_a_time(access: TableAccess) -> None:
    assert access.claims.claim(FOLDER, "first") == "first"
    assert access.claims.claim(FOLDER, "second") == "first"
    access.claims.release(FOLDER, "second")
    assert access.claims.claim(FOLDER, "second", expected_holder="first") == "second"
    access.claims.release(FOLDER, "second")
    assert access.claims.claim(FOLDER, "third") == "third"


def test_evidence_of_the_published_attempt_is_shown(access: TableAccess, layout: Layout) -> None:
    planned = replace(plan(FOLDER, A, None), attempt="1")
    own = layout.attempt(FOLDER, A, "1")
    own.mkdir(parents=True)
    (own / "plan.json").write_text('{"attempt": "1"}', encoding="utf-8")
    access.evidence.begin_evidence(planned)
    scored = stage(access, FOLDER, A)
    access.publisher.publish(planned, scored, lambda: manifest(A, scored, "1"))
    assert (layout.run(FOLDER, A) / "plan.json").read_text(encoding="utf-8") == '{"attempt": "1"}'
    assert (layout.run(FOLDER, A) / "manifest.json").is_file()
