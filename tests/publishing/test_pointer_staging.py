"""Scores that workers store in the table before they are published: who sees them, and what removes them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from faults.campaign import Known
from faults.oracle import content_of
from faults.publishing import manifest, parquet, plan, publish, rows_of, run_name, stage
from faults.stores import files_of, read_back
from object_stores import Bucket, new_bucket
from score_jobs import result_of

from batchdeploy.core.deployment import PublishSpec
from batchdeploy.core.layout import Layout
from batchdeploy.core.records import OutputFile
from batchdeploy.core.work import AttemptFolders
from batchdeploy.errors import PublishError, StaleRunError
from batchdeploy.ports import TableAccess
from batchdeploy.publishing.opening import open_pointer_table
from batchdeploy.publishing.pointer_document import ORPHAN_SECONDS
from batchdeploy.storage.interface import write

FOLDER = "date=2024-01-01"
A, B = run_name(0), run_name(1)
SPEC = PublishSpec(mode="pointer", durability="process", keep_generations=1)


@dataclass(frozen=True, slots=True)
class Place:
    """A table in one kind of storage: opened anew, it is the table as another process sees it."""

    open: Callable[[], TableAccess]
    access: TableAccess

    def data(self) -> list[str]:
        """The keys of all scores in the table's storage."""
        return sorted(path for path, _ in files_of(self.access).listed("data"))

    def staging(self) -> list[str]:
        """The keys below staging in the control folder."""
        control = self.access.staging._control  # type: ignore[attr-defined]
        return sorted(entry.key for entry in control.storage.list("staging"))


@pytest.fixture(params=["a folder", "S3", "S3 and its control folder", "Azure and its control folder"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    kind: str = request.param
    layout, target = Layout(tmp_path / "scores"), str(tmp_path / "scores")
    bucket: Bucket | None = None
    if kind != "a folder":
        request.getfixturevalue("store_credentials")
        bucket = new_bucket(request, kind.partition(" ")[0])
        target = f"{bucket.uri}/churn"
        layout = replace(layout, control_uri=f"{target}.batchdeploy" if "control" in kind else None)
    options = {} if bucket is None else {"stores": bucket.storage}
    opened = partial(open_pointer_table, layout, target, SPEC, **options)
    return Place(opened, opened())


@pytest.fixture(params=["a folder", "memory"])
def access(request: pytest.FixtureRequest, tmp_path: Path) -> TableAccess:
    """A table in a folder, and one in memory."""
    target = str(tmp_path / "scores") if request.param == "a folder" else "memory:///"
    return open_pointer_table(Layout(tmp_path / "scores"), target, SPEC)


def put(access: TableAccess, attempt: AttemptFolders, name: str) -> OutputFile:
    """A file of scores as a worker stores it."""
    files, rows = files_of(access), rows_of(FOLDER, A)
    content = parquet(rows)
    write(files.storage, f"{attempt.scored.removeprefix(f'{files.target}/')}/{name}", content)
    digest = hashlib.sha256(content).hexdigest()
    return OutputFile(path=name, rows=rows.num_rows, size=len(content), sha256=digest)


def test_files_that_no_result_names_are_removed(access: TableAccess) -> None:
    attempt = access.staging.stage(FOLDER, A)
    told = put(access, attempt, "part-00000-told.parquet")
    put(access, attempt, "part-00000-untold.parquet")
    scored, quarantined = access.staging.collect(attempt, A, [result_of(told)])
    assert (scored, quarantined) == ((told,), ())
    stored = [path.rpartition("/")[2] for path, _ in files_of(access).listed("data")]
    assert stored == [told.path]


def test_a_file_of_a_straggler_is_neither_published_nor_in_the_way(place: Place) -> None:
    scored = stage(place.access, FOLDER, A)
    straggler = f"data/{FOLDER}/run={scored.attempt}/part-00009-late.parquet"
    write(files_of(place.access).storage, straggler, b"half")
    place.access.publisher.publish(plan(FOLDER, A, None), scored, lambda: manifest(A, scored, "1"))
    assert content_of(read_back(place.access, FOLDER)) == Known()[FOLDER, A]
    assert straggler in place.data()
    now = next(stored for _, stored in files_of(place.access).listed("data")) + ORPHAN_SECONDS + 60
    assert straggler in place.access.maintenance.collect_garbage(now=now).leftovers
    assert content_of(read_back(place.access, FOLDER)) == Known()[FOLDER, A]


def test_scores_are_at_their_final_place_before_the_publish_and_seen_after_it(place: Place) -> None:
    scored = stage(place.access, FOLDER, A)
    before = place.data()
    assert len(before) == len(scored.files)
    assert place.access.table.files(FOLDER) == ()
    # Another process publishes.
    place.access.staging.hand_over(scored.attempt)
    place.open().publisher.publish(plan(FOLDER, A, None), scored, lambda: manifest(A, scored, "1"))
    assert place.data() == before
    prefix = f"{files_of(place.access).target}/"
    assert sorted(place.access.table.files(FOLDER)) == [prefix + path for path in before]
    assert place.staging() == []


def test_what_is_discarded_before_its_publish_leaves_nothing(place: Place) -> None:
    scored = stage(place.access, FOLDER, A)
    place.access.staging.discard(scored.attempt)
    assert (place.data(), place.staging()) == ([], [])
    with pytest.raises(PublishError, match="is no attempt in staging any more"):
        place.access.publisher.publish(plan(FOLDER, A, None), scored, lambda: manifest(A, scored, "1"))


def test_a_run_that_is_stale_leaves_nothing(place: Place) -> None:
    late = stage(place.access, FOLDER, B)
    publish(place.access, FOLDER, A, None)
    before = set(place.data())
    with pytest.raises(StaleRunError):
        place.access.publisher.publish(plan(FOLDER, B, None), late, lambda: manifest(B, late, "1"))
    place.access.staging.discard(late.attempt)
    assert before - set(place.data()) == {path for path in before if late.attempt in path}
    assert [path for path, _ in files_of(place.access).listed("manifests") if late.attempt in path] == []
    assert content_of(read_back(place.access, FOLDER)) == Known()[FOLDER, A]


def test_scores_that_an_unknown_answer_may_have_published_are_never_discarded(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored, files = stage(place.access, FOLDER, A), files_of(place.access)
    replaced, read = files.replace, files.read

    def lost(*arguments: object) -> bool:
        replaced(*arguments)  # type: ignore[arg-type]
        monkeypatch.setattr(files, "read", refused)
        raise OSError("the answer was lost")

    def refused() -> None:
        raise PublishError("the published table", "cannot be read")

    monkeypatch.setattr(files, "replace", lost)
    monkeypatch.setattr("batchdeploy.publishing.pointer_commit.LOST_RACES", 2)
    with pytest.raises(PublishError, match="the pointer could not be replaced"):
        place.access.publisher.publish(plan(FOLDER, A, None), scored, lambda: manifest(A, scored, "1"))
    place.access.staging.discard(scored.attempt)
    monkeypatch.setattr(files, "read", read)
    assert content_of(read_back(place.access, FOLDER)) == Known()[FOLDER, A]
    assert place.staging() == []


def test_a_commit_that_cannot_be_recorded_is_not_begun(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    scored = stage(place.access, FOLDER, A)

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("batchdeploy.publishing.pointer_commit.LOST_RACES", 2)
    monkeypatch.setattr("batchdeploy.publishing.pointer_attempts.write", full)
    with pytest.raises(PublishError, match=r"no space left(.|\n)*nothing was published"):
        place.access.publisher.publish(plan(FOLDER, A, None), scored, lambda: manifest(A, scored, "1"))
    assert place.access.table.published_run(FOLDER) is None
    place.access.staging.discard(scored.attempt)
    assert (place.data(), place.staging()) == ([], [])


def test_scores_whose_record_a_power_cut_took_back_are_never_discarded(place: Place) -> None:
    """The pointer names them, although the record says that no publish has begun."""
    scored = stage(place.access, FOLDER, A)
    attempts = place.access.staging._attempts  # type: ignore[attr-defined]
    record = attempts.find(scored.attempt)
    place.access.publisher.publish(plan(FOLDER, A, None), scored, lambda: manifest(A, scored, "1"))
    attempts._write(scored.attempt, record)
    assert not record.committing
    place.open().staging.discard(scored.attempt)
    assert content_of(read_back(place.access, FOLDER)) == Known()[FOLDER, A]


def test_an_attempt_without_a_process_expires(place: Place) -> None:
    """In a folder its process is known to be dead, unless it was handed over; in a store age alone tells."""
    scored = stage(place.access, FOLDER, A)
    place.access.staging.hand_over(scored.attempt)
    stored = next(stored for _, stored in files_of(place.access).listed("data"))
    assert place.open().maintenance.collect_garbage(now=stored + ORPHAN_SECONDS - 600).attempts == ()
    assert len(place.data()) == len(scored.files)
    cleaned = place.open().maintenance.collect_garbage(now=stored + ORPHAN_SECONDS + 600)
    assert cleaned.attempts == (scored.attempt,)
    assert (place.data(), place.staging()) == ([], [])


def test_an_attempt_that_may_have_expired_is_not_published(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored, now = stage(place.access, FOLDER, A), time.time()
    monkeypatch.setattr(time, "time", lambda: now + ORPHAN_SECONDS / 2 + 60)
    with pytest.raises(PublishError, match=r"so long ago that they may be gone(.|\n)*nothing was published"):
        place.access.publisher.publish(plan(FOLDER, A, None), scored, lambda: manifest(A, scored, "1"))
    assert place.access.table.published_run(FOLDER) is None
