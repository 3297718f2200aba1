"""The publisher's contract, case by case; tests/faults kills it, and holds the oracle."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import filelock
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faults.campaign import Known
from faults.killing import killed_at
from faults.oracle import published_run, violations
from faults.publishing import manifest, plan, publish, run_name, stage, swap_table
from score_jobs import result_of

from batchdeploy.core.records import OutputFile, ScoredBatch
from batchdeploy.errors import PartitionError, PublishError, StaleRunError
from batchdeploy.ports import TableAccess
from batchdeploy.publishing import attempts, journal

FOLDER = "date=2024-01-01"
A, B, C = (run_name(number) for number in range(3))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "scores"


@pytest.fixture
def access(root: Path) -> TableAccess:
    return swap_table(root, seconds=0.5)


@pytest.fixture
def control(root: Path) -> Path:
    return root.with_name("scores.batchdeploy")


def put(access: TableAccess, scored: ScoredBatch, run: str, base_run: str | None) -> str:
    return access.publisher.publish(
        plan(FOLDER, run, base_run), scored, lambda: manifest(run, scored, str(time.time_ns()))
    )


def test_publishes_replaces_and_retires(access: TableAccess, root: Path, control: Path) -> None:
    assert access.table.published_run(FOLDER) is None
    publish(access, FOLDER, A, None)
    publish(access, FOLDER, B, A)
    assert access.table.published_run(FOLDER) == B
    assert violations(root, Known()) == []
    assert access.table.generations(FOLDER) == (A,)
    assert len(list((control / "retired" / FOLDER / A).iterdir())) == 2
    lines = [json.loads(line) for line in (control / "audit.jsonl").read_text().splitlines()]
    assert [(line["run_id"], line["replaced"]) for line in lines] == [(A, ""), (B, A)]


def test_a_run_that_was_overtaken_by_other_pins_is_stale(access: TableAccess, root: Path) -> None:
    late = stage(access, FOLDER, B)
    publish(access, FOLDER, A, None)
    with pytest.raises(StaleRunError, match=r"when planned, its run was none.*\nHint: nothing was published"):
        put(access, late, B, None)
    access.staging.discard(late.attempt)
    assert access.table.published_run(FOLDER) == A
    assert violations(root, Known()) == []


def test_a_run_that_was_overtaken_by_the_same_pins_is_published_already(
    access: TableAccess, root: Path, control: Path
) -> None:
    late = stage(access, FOLDER, A)
    publish(access, FOLDER, A, None)
    first = (control / "runs" / FOLDER / A / "manifest.json").read_text()
    assert put(access, late, A, None) == first
    assert violations(root, Known()) == []


def test_a_repeat_replaces_its_own_run_and_is_no_generation(access: TableAccess, root: Path) -> None:
    publish(access, FOLDER, A, None)
    before = (root / FOLDER).stat().st_ino
    publish(access, FOLDER, A, A)
    assert (root / FOLDER).stat().st_ino != before
    assert access.table.generations(FOLDER) == ()
    assert violations(root, Known()) == []


def test_staged_files_that_are_not_those_scored_are_refused(access: TableAccess, control: Path) -> None:
    scored = stage(access, FOLDER, A)
    folder = control / "staging" / scored.attempt / "scored"
    pq.write_table(pa.table({"id": [1]}), folder / "part-00009-x.parquet")
    (folder / scored.files[0].path).unlink()
    with pytest.raises(PublishError) as caught:
        put(access, scored, A, None)
    text = str(caught.value)
    assert "part-00009-x.parquet: expected (rows, bytes) None" in text
    assert "part-00009-x.parquet: expected the columns id, y, _model_version" in text
    assert f"{scored.files[0].path}: cannot be read" in text
    assert "nothing was published" in text
    assert access.table.published_run(FOLDER) is None


def test_files_of_other_types_are_refused(access: TableAccess, control: Path) -> None:
    scored = stage(access, FOLDER, A)
    file = control / "staging" / scored.attempt / "scored" / scored.files[0].path
    rows = pq.read_table(file)
    pq.write_table(rows.set_column(0, "id", rows["id"].cast(pa.int32())), file)
    changed = replace(scored, files=(replace(scored.files[0], size=file.stat().st_size), scored.files[1]))
    with pytest.raises(PublishError, match="not of the same types in all files"):
        put(access, changed, A, None)


def test_a_held_lock_names_its_holder(access: TableAccess, control: Path) -> None:
    scored = stage(access, FOLDER, A)
    (control / "lock.holder.json").write_text('{"pid": 4711, "host": "h", "since": 0}')
    with filelock.FileLock(control / "lock"), pytest.raises(PublishError, match="process 4711 on h"):
        put(access, scored, A, None)


def test_a_folder_that_no_single_run_made_is_refused(access: TableAccess, root: Path) -> None:
    (root / FOLDER).mkdir(parents=True)
    for run in (A, B):
        (root / FOLDER / f"part-00000-{run}.parquet").touch()
    with pytest.raises(PublishError, match="exactly one run"):
        access.table.published_run(FOLDER)


def test_a_filesystem_that_cannot_exchange_is_refused_at_the_start(
    access: TableAccess, control: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The patch stands for a filesystem that this machine does not have.
    monkeypatch.setattr(attempts, "can_exchange", lambda folder: False)
    with pytest.raises(PublishError, match=r"cannot exchange two folders(.|\n)*publish.mode to pointer"):
        access.staging.stage(FOLDER, A)
    assert os.listdir(control / "staging") == []


@pytest.mark.parametrize("function", ["exchange", "move_new"])
def test_a_swap_that_the_disk_refuses_is_taken_back_whole(
    access: TableAccess, root: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    base_run = None if function == "move_new" else A
    if base_run:
        publish(access, FOLDER, A, None)

    def failing(*_arguments: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link", "here")

    monkeypatch.setattr(journal, function, failing)
    with pytest.raises(PublishError, match=r"Invalid cross-device link(.|\n)*nothing was published"):
        publish(access, FOLDER, B, base_run)
    monkeypatch.undo()
    assert access.maintenance.recover(now=time.time()).finished == ()
    assert published_run(root, FOLDER) == base_run
    assert violations(root, Known()) == []


def test_one_intent_that_cannot_be_finished_holds_up_its_own_partition_only(
    access: TableAccess, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(access, FOLDER, A, None)
    assert killed_at("intent written", lambda: publish(access, FOLDER, B, A))
    real = journal.exchange

    def refusing(first: Path, second: Path) -> None:
        if FOLDER in str(second):
            raise OSError(errno.EROFS, "Read-only file system")
        real(first, second)

    monkeypatch.setattr(journal, "exchange", refusing)
    with pytest.raises(PublishError, match="the publish of an earlier run cannot be completed"):
        publish(access, FOLDER, C, A)
    publish(access, "date=2024-01-02", C, None)
    monkeypatch.undo()
    assert access.maintenance.recover(now=time.time()).finished == (B,)
    assert access.table.published_run(FOLDER) == B
    assert violations(root, Known()) == []


def test_a_decided_attempt_is_not_discarded(access: TableAccess, root: Path, control: Path) -> None:
    assert killed_at("intent written", lambda: publish(access, FOLDER, A, None))
    (attempt,) = (control / "intents").glob("*.json")
    access.staging.discard(attempt.stem)
    assert access.maintenance.recover(now=time.time()).finished == (A,)
    assert published_run(root, FOLDER) == A


def test_a_decided_run_whose_scores_are_gone_is_given_up(access: TableAccess, control: Path) -> None:
    assert killed_at("intent written", lambda: publish(access, FOLDER, A, None))
    # Beside the folder of an attempt lies its lock, which is a file.
    attempts = [path for path in (control / "staging").glob(f"{A}-*") if path.is_dir()]
    assert len(attempts) == 1
    shutil.rmtree(attempts[0])
    access.maintenance.recover(now=time.time())
    assert '"action": "lost"' in (control / "audit.jsonl").read_text()
    publish(access, FOLDER, B, None)
    assert access.table.published_run(FOLDER) == B
    (lost,) = (control / "intents").glob("*.lost")
    os.utime(lost, (0, 0))
    assert access.maintenance.collect_garbage(now=time.time()).leftovers == (f"intents/{lost.name}",)


def test_rows_quarantined_are_kept_by_whoever_finishes(access: TableAccess, control: Path) -> None:
    def publish_with_quarantine() -> None:
        scored = stage(access, FOLDER, A)
        folder = control / "staging" / scored.attempt / "quarantine"
        folder.mkdir()
        pq.write_table(pa.table({"id": [1]}), folder / "part-0.parquet")
        put(access, scored, A, None)

    assert killed_at("folders swapped", publish_with_quarantine)
    access.maintenance.recover(now=time.time())
    assert (control / "quarantine" / FOLDER / A / "part-0.parquet").is_file()


def test_a_dead_process_is_swept_at_once_and_a_living_one_is_not(access: TableAccess, control: Path) -> None:
    assert killed_at("attempt begun", lambda: stage(access, FOLDER, A))
    mine = stage(access, FOLDER, B)
    (swept,) = swap_table(control.with_name("scores")).maintenance.recover(now=time.time()).attempts
    assert swept.startswith(A)
    assert sorted(os.listdir(control / "staging")) == [mine.attempt, f"{mine.attempt}.alive"]


def test_an_attempt_that_was_handed_over_waits_a_week(access: TableAccess, control: Path) -> None:
    mine = stage(access, FOLDER, B)
    access.staging.hand_over(mine.attempt)
    other = swap_table(control.with_name("scores"))
    assert other.maintenance.recover(now=time.time()).attempts == ()
    assert other.maintenance.recover(now=time.time() + 8 * 86_400).attempts == (mine.attempt,)
    assert os.listdir(control / "staging") == []


def test_rolls_back_to_the_run_before_or_to_a_named_one(
    access: TableAccess, root: Path, control: Path
) -> None:
    for run, base_run in ((A, None), (B, A), (C, B)):
        publish(access, FOLDER, run, base_run)
    assert access.publisher.roll_back(FOLDER, to=None, expected_run=C, at="t1") == B
    assert access.table.generations(FOLDER) == (C, A)
    assert access.publisher.roll_back(FOLDER, to=A, expected_run=B, at="t2") == A
    assert violations(root, Known()) == []
    assert published_run(root, FOLDER) == A
    last = json.loads((control / "audit.jsonl").read_text().splitlines()[-1])
    assert (last["action"], last["run_id"], last["replaced"]) == ("rollback", A, B)


def test_a_rollback_that_cannot_be_says_why(access: TableAccess) -> None:
    publish(access, FOLDER, A, None)
    with pytest.raises(PartitionError, match="no earlier run to go back to"):
        access.publisher.roll_back(FOLDER, to=None, expected_run=A, at="t")
    publish(access, FOLDER, B, A)
    with pytest.raises(PartitionError, match=f"kept are: {A}"):
        access.publisher.roll_back(FOLDER, to=C, expected_run=B, at="t")
    with pytest.raises(StaleRunError):
        access.publisher.roll_back(FOLDER, to=A, expected_run=A, at="t")


def test_generations_beyond_the_retention_go_but_not_under_a_reader(root: Path) -> None:
    access = swap_table(root, keep=1, grace=600)
    for run, base_run in ((A, None), (B, A), (C, B)):
        publish(access, FOLDER, run, base_run)
    assert access.table.generations(FOLDER) == (B, A)
    cleaned = access.maintenance.collect_garbage(now=time.time() + 601)
    assert cleaned.generations == (f"{FOLDER}/{A}",)
    assert violations(root, Known()) == []


def test_files_that_no_result_names_are_dropped(access: TableAccess) -> None:
    """A speculated or retried task leaves a second file; only what the driver was told of counts."""
    attempt = access.staging.stage(FOLDER, A)
    for name in ("part-00000-told.parquet", "part-00000-untold.parquet"):
        pq.write_table(pa.table({"id": [1]}), f"{attempt.scored}/{name}")
    told = OutputFile(path="part-00000-told.parquet", rows=1, size=1, sha256="")
    files, _ = access.staging.collect(attempt, A, [result_of(told)])
    assert [file.path for file in files] == [f"part-00000-{A}.parquet"]
    assert os.listdir(attempt.scored) == [files[0].path]
