"""What staging, publishing, claims and maintenance do in memory, by swap and by pointer."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import FakeClaims, FakeMaintenance, FakeStaging, FakeStorage, FakeTable
from score_jobs import result_of
from tests_support import RUNS
from tests_support import plan as made_up_plan

from batchdeploy.core.deployment import OutputRef, PublishSpec
from batchdeploy.core.layout import Layout
from batchdeploy.core.records import OutputFile, Plan, ScoredBatch
from batchdeploy.core.work import AttemptFolders
from batchdeploy.errors import PartitionError, PublishError, StaleRunError, TableError
from batchdeploy.ports import Claims, Maintenance, PublishedTable, Publisher, Staging
from batchdeploy.publishing.opening import open_table

FOLDER = "date=2024-01-01"
A, B, C = (RUNS[name] for name in "abc")
Write = Callable[[AttemptFolders, str, Any], OutputFile]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One way to publish, and the way of its workers to stage rows."""

    staging: Staging
    table: PublishedTable
    publisher: Publisher
    claims: Claims
    maintenance: Maintenance
    write: Write

    def stage(self, run: str) -> ScoredBatch:
        """A run's rows in staging, beside a file that no result names."""
        attempt = self.staging.stage(FOLDER, run)
        self.write(attempt, "part-00000-untold.parquet", rows_of(run))
        file = self.write(attempt, "part-00000-told.parquet", rows_of(run))
        files, quarantine = self.staging.collect(attempt, run, [result_of(file)])
        return scored_batch(run, attempt.name, files, quarantine)

    def publish(self, run: str, base_run: str | None, scored: ScoredBatch | None = None) -> str:
        """Publishes a run that was planned when another was visible; gives the manifest's JSON."""
        scored = scored or self.stage(run)
        text = json.dumps({"run_id": run, "attempt": scored.attempt})
        return self.publisher.publish(planned(run, base_run), scored, lambda: (text, time.ctime()))


def in_memory(_: Path) -> Place:
    staging = FakeStaging()
    table = FakeTable(staging, FakeStorage(), keep=1)
    return Place(
        staging=staging,
        table=table,
        publisher=table,
        claims=FakeClaims(),
        maintenance=FakeMaintenance(staging, table),
        write=lambda attempt, name, rows: staging.write(attempt.name, "scored", name, rows),
    )


def on_disk(mode: Any) -> Callable[[Path], Place]:
    def opened(root: Path) -> Place:
        spec = PublishSpec(mode=mode, durability="process", keep_generations=1, reader_seconds=0)
        access = open_table(Layout(root / "scores"), OutputRef(path="scores", columns={"y": "double"}), spec)
        return Place(
            staging=access.staging,
            table=access.table,
            publisher=access.publisher,
            claims=access.claims,
            maintenance=access.maintenance,
            write=write_file,
        )

    return opened


KINDS = {"fake": in_memory, "swap": on_disk("swap"), "pointer": on_disk("pointer")}


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A table in which nothing is published."""
    return KINDS[request.param](tmp_path)


def rows_of(run: str) -> Any:
    return pa.table(
        {
            "id": pa.array([1, 2], pa.int64()),
            "y": pa.array([0.25, 0.75], pa.float64()),
            "_model_version": pa.array([1, 1], pa.int64()),
            "_run_id": pa.array([run, run], pa.string()),
            "_scored_at": pa.array([0, 0], pa.timestamp("us", tz="UTC")),
        }
    )


def write_file(attempt: AttemptFolders, name: str, rows: Any) -> OutputFile:
    path = Path(attempt.scored, name)
    pq.write_table(rows, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return OutputFile(path=name, rows=rows.num_rows, size=path.stat().st_size, sha256=digest)


def scored_batch(
    run: str, attempt: str, files: tuple[OutputFile, ...], quarantine: tuple[OutputFile, ...]
) -> ScoredBatch:
    rows = sum(file.rows for file in files)
    return ScoredBatch(
        run_id=run,
        attempt=attempt,
        files=files,
        quarantine=quarantine,
        rows_in=rows,
        rows_scored=rows,
        rows_quarantined=0,
        keys_in="0",
        keys_out="0",
        quarantined=(),
        profile=(),
        model_loads=1,
    )


def planned(run: str, base_run: str | None) -> Plan:
    return replace(made_up_plan("a", None), run_id=run, base_run=base_run)


def test_an_attempt_is_private_and_used_once(place: Place) -> None:
    first, second = place.stage(A), place.stage(A)
    assert first.attempt != second.attempt
    assert [file.rows for file in first.files] == [2]
    assert sorted(place.staging.staged(FOLDER, first)["id"]) == [1, 2]
    assert place.table.published_partitions() == ()
    place.staging.discard(first.attempt)
    assert len(place.staging.staged(FOLDER, second)) == 2
    place.staging.hand_over(second.attempt)
    place.publish(A, None, second)


def test_nothing_is_published_at_first(place: Place) -> None:
    assert place.table.published_run(FOLDER) is None
    assert place.table.published_partitions() == ()
    assert place.table.files(FOLDER) == ()
    assert place.table.attempt_of(FOLDER) is None
    assert place.table.generations(FOLDER) == ()
    assert place.table.record() is None
    assert place.maintenance.recover(now=time.time()).finished == ()


def test_files_are_held_against_what_was_recorded_of_them(place: Place) -> None:
    first, second = place.stage(A), place.stage(B)
    assert place.table.file_problems(FOLDER, A, first.files, content=True) is None
    place.publish(A, None, first)
    place.publish(B, A, second)
    for run, scored in ((A, first), (B, second)):
        assert place.table.file_problems(FOLDER, run, scored.files, content=True) == ()
        (file,) = scored.files
        other = replace(file, sha256="0" * 64)
        assert place.table.file_problems(FOLDER, run, (other,), content=False) == ()
        for wrong in (other, replace(file, size=1), replace(file, path="part-1.parquet")):
            problems = place.table.file_problems(FOLDER, run, (wrong,), content=True)
            assert problems is not None
            assert [problem.path.endswith(wrong.path) for problem in problems] == [True]
    assert place.table.file_problems(FOLDER, C, first.files, content=True) is None


def test_a_publish_is_visible_and_replaces(place: Place) -> None:
    scored = place.stage(A)
    text = place.publish(A, None, scored)
    assert json.loads(text)["run_id"] == A
    assert place.table.published_run(FOLDER) == A
    assert place.table.published_partitions() == (FOLDER,)
    (file,) = place.table.files(FOLDER)
    assert file.endswith(f"/{scored.files[0].path}")
    before = place.table.attempt_of(FOLDER)
    record = place.table.record()
    assert record is not None
    assert (record.deployment, record.model, record.partition) == ("d", "m", "date")
    assert record.columns["y"] == "double"
    place.publish(B, A)
    assert place.table.published_run(FOLDER) == B
    assert place.table.attempt_of(FOLDER) != before
    assert place.table.generations(FOLDER) == (A,)


def test_a_run_that_was_overtaken_by_other_pins_is_stale(place: Place) -> None:
    late = place.stage(B)
    place.publish(A, None)
    with pytest.raises(StaleRunError, match=r"when planned, its run was none.*\nHint: nothing was published"):
        place.publish(B, None, late)
    assert place.table.published_run(FOLDER) == A


def test_a_run_that_was_overtaken_by_its_own_pins_is_published_already(place: Place) -> None:
    late = place.stage(A)
    first = place.publish(A, None)
    attempt = place.table.attempt_of(FOLDER)
    assert place.publish(A, None, late) == first
    assert place.table.attempt_of(FOLDER) == attempt


def test_an_attempt_that_publishes_again_gets_the_same_answer(place: Place) -> None:
    scored = place.stage(A)
    first = place.publish(A, None, scored)
    assert place.publish(A, None, scored) == first
    assert place.table.generations(FOLDER) == ()


def test_a_repeat_is_no_generation_of_its_own(place: Place) -> None:
    place.publish(A, None)
    before = place.table.attempt_of(FOLDER)
    place.publish(A, A)
    assert place.table.attempt_of(FOLDER) != before
    assert place.table.generations(FOLDER) == ()


def test_rows_that_are_not_those_scored_are_not_published(place: Place) -> None:
    scored = place.stage(A)
    changed = replace(scored, files=tuple(replace(file, rows=9) for file in scored.files))
    with pytest.raises(PublishError, match="nothing was published"):
        place.publish(A, None, changed)
    assert place.table.published_run(FOLDER) is None


def test_another_deployments_table_is_left_alone(place: Place) -> None:
    place.publish(A, None)
    scored = place.stage(B)
    plan = planned(B, A)
    other = replace(plan, deployment=replace(plan.deployment, name="other"))
    with pytest.raises(TableError, match="belongs to deployment d"):
        place.publisher.publish(other, scored, lambda: ("{}", ""))
    assert place.table.published_run(FOLDER) == A


def test_rolls_back_to_the_run_before_and_forth_again(place: Place) -> None:
    place.publish(A, None)
    place.publish(B, A)
    assert place.publisher.roll_back(FOLDER, to=None, expected_run=B, at="t1") == A
    assert (place.table.published_run(FOLDER), place.table.generations(FOLDER)) == (A, (B,))
    assert place.publisher.roll_back(FOLDER, to=B, expected_run=A, at="t2") == B
    assert place.table.published_run(FOLDER) == B


def test_a_rollback_that_cannot_be_says_why(place: Place) -> None:
    place.publish(A, None)
    with pytest.raises(PartitionError, match="no earlier run to go back to"):
        place.publisher.roll_back(FOLDER, to=None, expected_run=A, at="t")
    place.publish(B, A)
    with pytest.raises(PartitionError, match=f"kept are: {A}"):
        place.publisher.roll_back(FOLDER, to=C, expected_run=B, at="t")
    with pytest.raises(StaleRunError):
        place.publisher.roll_back(FOLDER, to=A, expected_run=A, at="t")
    assert place.table.published_run(FOLDER) == B


def test_a_rollback_of_what_was_never_published_writes_nothing(place: Place, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(PartitionError, match="no earlier run to go back to"):
        place.publisher.roll_back(FOLDER, to=None, expected_run=None, at="t")
    assert sorted(tmp_path.rglob("*")) == before


def test_generations_beyond_the_retention_go(place: Place) -> None:
    for run, base_run in ((A, None), (B, A), (C, B)):
        place.publish(run, base_run)
    place.maintenance.collect_garbage(now=time.time() + 1)
    assert place.table.generations(FOLDER) == (B,)
    assert place.table.published_run(FOLDER) == C


def test_a_claim_holds_until_it_is_released_or_taken_over(place: Place) -> None:
    assert place.claims.claim(FOLDER, "a") == "a"
    assert place.claims.claim(FOLDER, "a") == "a"
    assert place.claims.claim(FOLDER, "b") == "a"
    assert place.claims.claim("date=2024-01-02", "b") == "b"
    assert place.claims.claim(FOLDER, "b", expected_holder="a") == "b"
    assert place.claims.claim(FOLDER, "c", expected_holder="a") == "b"
    place.claims.release(FOLDER, "a")
    assert place.claims.claim(FOLDER, "c") == "b"
    place.claims.release(FOLDER, "b")
    assert place.claims.claim(FOLDER, "c") == "c"
