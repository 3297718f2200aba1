"""The publisher. The oracle below uses a listing and pyarrow only, never the code under test."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import filelock
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests_support import FOLDER, RUNS, plan

from batchdeploy.adapters.parquet_sink import ParquetSink, intents, sink
from batchdeploy.core.layout import Layout
from batchdeploy.core.records import OutputFile, ScoredBatch
from batchdeploy.errors import PublishError, StaleRunError


def stage(table: ParquetSink, run: str, rows: int = 10, *, quarantined: int = 0) -> ScoredBatch:
    """Two scored files, staged as workers and `collect` leave them."""
    attempt = table.stage(RUNS[run])
    files = []
    for number in range(2):
        name = f"part-{number:05d}-{RUNS[run]}.parquet"
        file = attempt / "scored" / name
        pq.write_table(pa.table({"id": range(rows), "_run_id": [RUNS[run]] * rows}), file)
        files.append(OutputFile(path=name, rows=rows, size=file.stat().st_size, sha256=""))
    if quarantined:
        (attempt / "quarantine").mkdir()
        pq.write_table(pa.table({"id": range(quarantined)}), attempt / "quarantine" / "part-0.parquet")
    return ScoredBatch(
        run_id=RUNS[run],
        attempt=attempt.name,
        files=tuple(files),
        quarantine=(),
        rows_in=2 * rows,
        rows_scored=2 * rows,
        rows_quarantined=0,
        keys_in="0",
        keys_out="0",
        set_aside=(),
        profile=(),
        model_loads=1,
    )


def manifest(run: str) -> tuple[str, str]:
    return json.dumps({"run": RUNS[run]}), "2024-01-01T00:00:01+00:00"


def publish(table: ParquetSink, run: str, live: str | None) -> str:
    return table.publish(plan(run, live), stage(table, run), lambda: manifest(run))


def violations(root: Path) -> list[str]:
    """What is wrong with the public tree, by listing and footers alone."""
    found = []
    for path in (root / "scores").rglob("*"):
        name = str(path.relative_to(root / "scores"))
        if not re.fullmatch(r"date=[^/]+(/part-\d{5}-[0-9a-f]{16}\.parquet)?", name):
            found.append(f"litter: {name}")
    for folder in (root / "scores").glob("date=*"):
        runs = {file.name[11:27] for file in folder.iterdir()}
        inside = {run for file in folder.iterdir() for run in set(pq.read_table(file)["_run_id"].to_pylist())}
        if len(runs) != 1 or runs != inside:
            found.append(f"mixed: {folder.name} holds {runs | inside}")
        rows = sum(pq.read_metadata(file).num_rows for file in folder.iterdir())
        if rows != 20:
            found.append(f"rows: {rows}")
    return found


@pytest.fixture
def table(tmp_path: Path) -> ParquetSink:
    return ParquetSink(Layout(tmp_path / "scores"), lock_seconds=0.5)


def test_publishes_replaces_and_retires(table: ParquetSink, tmp_path: Path) -> None:
    assert table.live(FOLDER) is None
    publish(table, "a", None)
    assert table.live(FOLDER) == RUNS["a"]
    publish(table, "b", "a")
    assert table.live(FOLDER) == RUNS["b"]
    assert violations(tmp_path) == []
    control = tmp_path / "scores.batchdeploy"
    assert len(list((control / "retired" / FOLDER / RUNS["a"]).iterdir())) == 2
    assert list((control / "staging").iterdir()) == []
    assert list((control / "intents").iterdir()) == []
    lines = [json.loads(line) for line in (control / "audit.jsonl").read_text().splitlines()]
    assert [(line["run_id"], line["replaced"]) for line in lines] == [(RUNS["a"], ""), (RUNS["b"], RUNS["a"])]


def test_a_run_that_was_overtaken_by_other_pins_is_stale(table: ParquetSink, tmp_path: Path) -> None:
    late = stage(table, "b")
    publish(table, "a", None)
    with pytest.raises(StaleRunError, match="when planned, its run was none"):
        table.publish(plan("b", None), late, lambda: manifest("b"))
    assert table.live(FOLDER) == RUNS["a"]
    assert violations(tmp_path) == []


def test_a_run_that_was_overtaken_by_the_same_pins_is_published_already(table: ParquetSink) -> None:
    late = stage(table, "a")
    first = publish(table, "a", None)
    second = table.publish(plan("a", None), late, lambda: ("{}", "never"))
    assert second == first
    assert not list((table._layout.staging).iterdir())


def test_a_repeat_replaces_its_own_run(table: ParquetSink, tmp_path: Path) -> None:
    publish(table, "a", None)
    before = (tmp_path / "scores" / FOLDER).stat().st_ino
    publish(table, "a", "a")
    assert (tmp_path / "scores" / FOLDER).stat().st_ino != before
    assert violations(tmp_path) == []


def test_staged_files_that_are_not_those_scored_are_refused(table: ParquetSink, tmp_path: Path) -> None:
    scored = stage(table, "a")
    extra = table._layout.staging / scored.attempt / "scored" / "part-00009-x.parquet"
    pq.write_table(pa.table({"id": [1]}), extra)
    with pytest.raises(PublishError, match=r"part-00009-x\.parquet"):
        table.publish(plan("a", None), scored, lambda: manifest("a"))
    assert table.live(FOLDER) is None


def test_a_held_lock_names_its_holder(table: ParquetSink) -> None:
    scored = stage(table, "a")
    (table._layout.control / "lock.holder.json").write_text('{"pid": 4711, "host": "h", "since": 0}')
    with filelock.FileLock(table._layout.lock), pytest.raises(PublishError, match="process 4711 on h"):
        table.publish(plan("a", None), scored, lambda: manifest("a"))


def test_a_folder_that_no_single_run_made_is_refused(table: ParquetSink, tmp_path: Path) -> None:
    folder = tmp_path / "scores" / FOLDER
    folder.mkdir(parents=True)
    for run in "ab":
        (folder / f"part-00000-{RUNS[run]}.parquet").touch()
    with pytest.raises(PublishError, match="exactly one run"):
        table.live(FOLDER)


def test_a_filesystem_that_cannot_exchange_is_refused_at_the_start(
    table: ParquetSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The patch stands for a filesystem that this machine does not have.
    monkeypatch.setattr(sink, "can_exchange", lambda folder: False)
    with pytest.raises(PublishError, match="cannot exchange two folders"):
        table.stage(RUNS["a"])


class Killed(BaseException):
    pass


POINTS = ["exchange", "move_new", "sync_folder", "_move_over", "write_atomic", "_audit"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("point", POINTS)
def test_an_interrupted_publish_is_finished_by_the_next(
    table: ParquetSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, when: str
) -> None:
    live = None if point == "move_new" else "a"
    if live:
        publish(table, "a", None)
    scored = stage(table, "b", quarantined=3)
    real = getattr(intents, point)
    fired = []

    def dying(*arguments: object, **named: object) -> object:
        # NOTE: the intent's own write is the decision; a death there leaves nothing to finish.
        if point == "write_atomic" and "intents" in str(arguments[0]):
            return real(*arguments)
        if when == "after":
            real(*arguments, **named)
        fired.append(point)
        raise Killed

    monkeypatch.setattr(intents, point, dying)
    with pytest.raises(Killed):
        table.publish(plan("b", live), scored, lambda: manifest("b"))
    monkeypatch.setattr(intents, point, real)
    assert fired
    assert table.recover(now=time.time()) == (RUNS["b"],)
    assert table.live(FOLDER) == RUNS["b"]
    assert violations(tmp_path) == []
    control = tmp_path / "scores.batchdeploy"
    assert list((control / "intents").iterdir()) == []
    assert list((control / "staging").iterdir()) == []
    assert (control / "quarantine" / FOLDER / RUNS["b"] / "part-0.parquet").is_file()
    assert (
        json.loads((control / "runs" / FOLDER / RUNS["b"] / "manifest.json").read_text())["run"] == RUNS["b"]
    )
    assert (control / "audit.jsonl").read_text().count(f'"run_id": "{RUNS["b"]}"') == 1
    publish(table, "c", "b")
    assert violations(tmp_path) == []


def test_a_death_before_the_intent_leaves_all_as_it_was(
    table: ParquetSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(table, "a", None)

    def dying(*arguments: object) -> object:
        raise Killed

    monkeypatch.setattr(sink, "write_intent", dying)
    with pytest.raises(Killed):
        publish(table, "b", "a")
    monkeypatch.undo()
    assert table.recover(now=time.time()) == ()
    assert table.live(FOLDER) == RUNS["a"]
    assert violations(tmp_path) == []
    table.recover(now=time.time() + 8 * 86_400)
    assert list(table._layout.staging.iterdir()) == []


def failing(*arguments: object) -> None:
    raise OSError(errno.EXDEV, "Invalid cross-device link", "here")


@pytest.mark.parametrize("point", ["exchange", "move_new"])
def test_a_swap_that_the_disk_refuses_is_taken_back_whole(
    table: ParquetSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """The patch stands for a mount or an overlay's lower layer below the table."""
    live = "a" if point == "exchange" else None
    if live:
        publish(table, "a", None)
    scored = stage(table, "b")
    monkeypatch.setattr(intents, point, failing)
    with pytest.raises(PublishError, match=r"Invalid cross-device link(.|\n)*nothing was published"):
        table.publish(plan("b", live), scored, lambda: manifest("b"))
    monkeypatch.undo()
    assert list(table._layout.intents.iterdir()) == []
    assert table.live(FOLDER) == (RUNS["a"] if live else None)
    table.discard(scored.attempt)
    publish(table, "c", live)
    assert table.live(FOLDER) == RUNS["c"]
    assert violations(tmp_path) == []


def test_a_decided_attempt_is_not_discarded(
    table: ParquetSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure after the swap: its partition waits, others go on, recovery finishes it."""
    publish(table, "a", None)
    scored = stage(table, "b")
    monkeypatch.setattr(intents, "_move_over", failing)
    with pytest.raises(PublishError, match="the scores are visible already"):
        table.publish(plan("b", "a"), scored, lambda: manifest("b"))
    table.discard(scored.attempt)
    assert (table._layout.staging / scored.attempt).is_dir()
    with pytest.raises(PublishError, match="cannot be finished"):
        publish(table, "c", "b")
    elsewhere = replace(plan("d", None), partition="2024-01-02")
    table.publish(elsewhere, stage(table, "d"), lambda: manifest("d"))
    monkeypatch.undo()
    assert table.recover(now=time.time()) == (RUNS["b"],)
    assert table.live(FOLDER) == RUNS["b"]
    assert violations(tmp_path) == []
    assert (table._layout.retired(FOLDER, RUNS["a"])).is_dir()


def test_a_decided_run_whose_scores_are_gone_is_given_up(
    table: ParquetSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = stage(table, "a")
    monkeypatch.setattr(intents, "move_new", dying_once := _Dying())
    with pytest.raises(Killed):
        table.publish(plan("a", None), scored, lambda: manifest("a"))
    monkeypatch.undo()
    assert dying_once.fired
    shutil.rmtree(table._layout.staging / scored.attempt)
    table.recover(now=time.time())
    assert '"action": "lost"' in table._layout.audit.read_text()
    publish(table, "b", None)
    assert table.live(FOLDER) == RUNS["b"]


class _Dying:
    fired = False

    def __call__(self, *arguments: object) -> None:
        self.fired = True
        raise Killed


def test_files_that_no_result_names_are_dropped(table: ParquetSink) -> None:
    """A speculated or retried task leaves a second file; only what the driver was told of counts."""
    attempt = table.stage(RUNS["a"])
    for name in ("part-00000-told.parquet", "part-00000-untold.parquet"):
        pq.write_table(pa.table({"id": [1]}), attempt / "scored" / name)
    from batchdeploy.core.work import SplitResult

    told = OutputFile(path="part-00000-told.parquet", rows=1, size=1, sha256="")
    result = SplitResult(
        index=0,
        scored=told,
        quarantine=None,
        rows_in=1,
        keys_in=0,
        keys_out=0,
        set_aside=(),
        profile=(),
        loaded=True,
    )
    files, _ = table.collect(attempt, RUNS["a"], [result])
    assert [file.path for file in files] == [f"part-00000-{RUNS['a']}.parquet"]
    assert os.listdir(attempt / "scored") == [files[0].path]


PUBLISHER = """
import itertools, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_parquet_sink import FOLDER, ParquetSink, Layout, publish
table = ParquetSink(Layout(Path(sys.argv[1])), lock_seconds=5)
names = {run * 16: run for run in "abcdef"}
for run in itertools.cycle("abcdef"):
    table.recover(now=0)
    publish(table, run, names.get(table.live(FOLDER)))
    print(run, flush=True)
"""


@pytest.mark.slow
def test_publishers_killed_at_random_never_leave_a_torn_table(tmp_path: Path) -> None:
    """SIGKILL at a random moment of real publishes, thirty times, looked at before and after recovery."""
    table = ParquetSink(Layout(tmp_path / "scores"), lock_seconds=5)
    command = [sys.executable, "-c", PUBLISHER, str(tmp_path / "scores")]
    command += [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    published = 0
    for trial in range(30):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.003 * trial)
        process.send_signal(signal.SIGKILL)
        published += len(process.communicate()[0].split())
        assert process.returncode == -signal.SIGKILL
        assert violations(tmp_path) == []
        table.recover(now=0)
        assert violations(tmp_path) == []
        shutil.rmtree(table._layout.control / "retired", ignore_errors=True)
    assert published > 30
