"""Publishing by a pointer: on a folder, on S3, and on an S3 whose answers get lost."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from tests_support import Result, tree

from batchdeploy.core.deployment import PublishSpec
from batchdeploy.core.layout import Layout
from batchdeploy.errors import PartitionError, PublishError, StaleRunError
from batchdeploy.ports import TableAccess
from batchdeploy.publishing.opening import open_pointer_table
from batchdeploy.publishing.pointer_document import ORPHAN_SECONDS
from batchdeploy.storage.failpoints import POINTER_POINTS
from batchdeploy.storage.locking import locked
from faults.campaign import Known
from faults.killing import killed_at
from faults.oracle import content_of
from faults.publishing import manifest, plan, run_name, stage
from faults.stores import files_of, pointer_table, publish_pointer, read_back, s3

pytestmark = pytest.mark.slow

FOLDER = "date=2024-01-01"
A, B, C = (run_name(number) for number in range(3))
DAY = "2024-03-02"
Cli = Callable[..., Result]


@pytest.fixture(params=["a folder", "S3"])
def access(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TableAccess]:
    if request.param == "a folder":
        spec = PublishSpec(mode="pointer", keep_generations=1)
        yield open_pointer_table(Layout(tmp_path / "scores"), str(tmp_path / "scores"), spec)
        return
    with s3() as port:
        yield pointer_table(tmp_path / "scores", port)


def test_publishes_replaces_rolls_back_and_collects_garbage(access: TableAccess) -> None:
    assert access.table.published_run(FOLDER) is None
    publish_pointer(access, FOLDER, A, None)
    publish_pointer(access, FOLDER, B, A)
    assert (access.table.published_run(FOLDER), access.table.generations(FOLDER)) == (B, (A,))
    assert content_of(read_back(access, FOLDER)) == Known()[FOLDER, B]
    assert access.publisher.roll_back(FOLDER, to=None, expected_run=B, at="t1") == A
    assert content_of(read_back(access, FOLDER)) == Known()[FOLDER, A]
    publish_pointer(access, FOLDER, C, A)
    assert access.table.generations(FOLDER) == (A,)
    gone = access.maintenance.collect_garbage(now=2e9 + ORPHAN_SECONDS).leftovers
    assert gone
    assert all(B in path for path in gone)
    assert content_of(read_back(access, FOLDER)) == Known()[FOLDER, C]
    with pytest.raises(PartitionError, match="no earlier run"):
        access.publisher.roll_back(FOLDER, to=B, expected_run=C, at="t2")
    assert access.table.published_partitions() == (FOLDER,)


def test_a_run_that_was_overtaken_is_stale(access: TableAccess) -> None:
    publish_pointer(access, FOLDER, A, None)
    with pytest.raises(StaleRunError, match="nothing was published"):
        publish_pointer(access, FOLDER, B, None)
    publish_pointer(access, FOLDER, A, None)
    assert files_of(access).read().document["version"] == 1


def test_records_of_a_run_that_died_after_its_publish_are_written_later(
    access: TableAccess, tmp_path: Path
) -> None:
    publish_pointer(access, FOLDER, A, None)
    file = Layout(tmp_path / "scores").run(FOLDER, A) / "manifest.json"
    # Manifests of the trials name no attempt, so recovery treats each as another attempt's.
    file.unlink()
    assert access.maintenance.recover(now=0).finished == (A,)
    assert json.loads(file.read_text())["run_id"] == A


def test_the_records_are_no_reason_to_fail_a_run_that_is_out(tmp_path: Path) -> None:
    with s3() as port:
        access = pointer_table(tmp_path / "scores", port, seconds=0.05)
        with locked(Layout(tmp_path / "scores"), 5):
            publish_pointer(access, FOLDER, A, None)
        assert access.table.published_run(FOLDER) == A


def test_the_same_pins_by_another_run_are_published_once(access: TableAccess) -> None:
    """Both planned against an empty partition; the second hears what the first one did."""
    first, second = (stage(access, FOLDER, A) for _ in range(2))
    texts = [
        access.publisher.publish(plan(FOLDER, A, None), scored, partial(manifest, A, scored, "1"))
        for scored in (first, second)
    ]
    assert texts[0] == texts[1]
    assert files_of(access).read().document["version"] == 1
    assert access.table.attempt_of(FOLDER) == first.attempt


def test_files_that_just_fell_out_of_sight_stay_for_who_reads_them(access: TableAccess) -> None:
    publish_pointer(access, FOLDER, A, None)
    before = set(access.table.files(FOLDER))
    month = 30 * 86_400
    with pytest.MonkeyPatch.context() as patch:
        now = time.time()
        patch.setattr(time, "time", lambda: now + month)
        publish_pointer(access, FOLDER, A, A)
        assert set(access.table.files(FOLDER)).isdisjoint(before)
        assert access.maintenance.collect_garbage(now=now + month + 60).leftovers == ()
        gone = access.maintenance.collect_garbage(now=now + month + 3600).leftovers
    assert len(gone) == len(before) + 1


def test_a_publisher_that_slept_for_a_day_does_not_name_files_that_gc_removed(access: TableAccess) -> None:
    scored = stage(access, FOLDER, A)
    now = time.time()

    def waking_up_late() -> tuple[str, str]:
        patch.setattr(time, "time", lambda: now + 2 * ORPHAN_SECONDS)
        assert access.maintenance.collect_garbage(now=time.time()).leftovers
        return manifest(A, scored, "1")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(PublishError, match="nothing was published"):
        access.publisher.publish(plan(FOLDER, A, None), scored, waking_up_late)
    assert access.table.published_run(FOLDER) is None


def test_a_generation_whose_files_are_gone_is_not_gone_back_to(access: TableAccess) -> None:
    publish_pointer(access, FOLDER, A, None)
    first = access.table.files(FOLDER)[0].removeprefix(f"{files_of(access).target}/")
    publish_pointer(access, FOLDER, B, A)
    files_of(access).delete(first)
    with pytest.raises(PartitionError, match="no longer stored"):
        access.publisher.roll_back(FOLDER, to=A, expected_run=B, at="t1")
    assert access.table.published_run(FOLDER) == B


def test_what_a_store_tells_states_apart_by_is_given_back_to_it(access: TableAccess) -> None:
    """The tag, and on GCS the version, without which it refuses."""
    publish_pointer(access, FOLDER, A, None)
    token = files_of(access).read().token
    assert token is not None
    assert token["e_tag"]
    assert set(token) <= {"e_tag", "version"}


@pytest.mark.parametrize("before", [None, A])
@pytest.mark.parametrize("point", POINTER_POINTS)
def test_a_kill_at_a_point(tmp_path: Path, point: str, before: str | None) -> None:
    """In a folder, whose storage has no threads that a fork would lose."""

    def opened() -> TableAccess:
        spec = PublishSpec(mode="pointer", durability="power", keep_generations=0, reader_seconds=0)
        return open_pointer_table(Layout(tmp_path / "scores"), str(tmp_path / "scores"), spec)

    if before is not None:
        publish_pointer(opened(), FOLDER, before, None)

    def work() -> None:
        access = opened()
        attempt = access.staging.stage(FOLDER, B)
        access.staging.collect(attempt, B, [])
        access.staging.discard(attempt.name)
        publish_pointer(access, FOLDER, B, before)

    assert killed_at(point, work)
    access = opened()
    out = POINTER_POINTS.index(point) >= POINTER_POINTS.index("pointer replaced")
    shown = B if out else before
    assert access.table.published_run(FOLDER) == shown
    assert shown is None or content_of(read_back(access, FOLDER)) == Known()[FOLDER, shown]
    now = time.time()
    access.maintenance.recover(now=now)
    assert list((tmp_path / "scores.batchdeploy" / "staging").iterdir()) == []
    access.maintenance.collect_garbage(now=now + 2 * ORPHAN_SECONDS)
    assert shown is None or content_of(read_back(access, FOLDER)) == Known()[FOLDER, shown]
    named = {path.removeprefix(f"{files_of(access).target}/") for path in access.table.files(FOLDER)}
    assert {path for path, _ in files_of(access).listed("data")} == named
    publish_pointer(access, FOLDER, C, shown)
    assert content_of(read_back(access, FOLDER)) == Known()[FOLDER, C]


def test_a_table_has_one_mode(project: Path, cli: Cli) -> None:
    deployment = project / "dags" / "churn.yaml"
    text = deployment.read_text()
    for first, second in (("swap", "pointer"), ("pointer", "swap")):
        here = text.replace("path: scores/churn", f"path: scores/{first}")
        deployment.write_text(here + f"publish: {{mode: {first}}}\n")
        assert cli("run", deployment, "--partition", DAY).code == 0
        before = tree(project / "scores")
        deployment.write_text(here + f"publish: {{mode: {second}}}\n")
        for command in (("run", "--partition", DAY), ("status",), ("gc",)):
            result = cli(command[0], deployment, *command[1:])
            assert result.code == 2, result.err
            assert f"this table was published by {first}" in result.err
        assert tree(project / "scores") == before


def test_the_lines_that_read_sql_prints_read_what_was_published(project: Path, cli: Cli) -> None:
    """Both modes, executed as printed, by three of the four; tests of Spark are elsewhere."""
    import duckdb

    deployment = project / "dags" / "churn.yaml"
    for mode in ("swap", "pointer"):
        text = re.sub(r"\npublish:.*", "", deployment.read_text()) + f"publish: {{mode: {mode}}}\n"
        deployment.write_text(
            text.replace("path: scores/churn", f"path: scores/{mode}").replace(
                "scores/swap\n", f"scores/{mode}\n"
            )
        )
        for day in ("2024-03-01", DAY):
            assert cli("run", deployment, "--partition", day).code == 0
        lines = cli("read-sql", deployment, "--json").json
        counts = {}
        for name in ("pandas", "Polars"):
            space: dict[str, object] = {}
            exec(lines[name], space)
            frame = space["scores"]
            counts[name] = len(frame if isinstance(frame, pd.DataFrame) else frame.collect())  # type: ignore[attr-defined]
        with duckdb.connect() as connection:
            *before, last = [part for part in lines["DuckDB"].split(";") if part.strip()]
            for statement in before:
                connection.execute(statement)
            counts["DuckDB"] = len(connection.execute(last).fetchall())
        assert counts == {"pandas": 400, "Polars": 400, "DuckDB": 400}, mode
        assert "Spark" in lines


def test_a_whole_run_on_s3(project: Path, cli: Cli, tmp_path: Path) -> None:
    deployment = project / "dags" / "churn.yaml"
    with s3() as port:
        access = pointer_table(tmp_path / "other", port)
        text = deployment.read_text().replace("path: scores/churn", "path: s3://scores/churn")
        deployment.write_text(text + "publish: {mode: pointer}\n")
        first = cli("run", deployment, "--partition", DAY, "--json")
        assert first.code == 0, first.err
        assert len(read_back(access, f"date={DAY}")) == 200
        again = cli("run", deployment, "--partition", DAY, "--json")
        assert again.json["status"] == "identical"
        status = cli("status", deployment, "--json").json["partitions"]
        assert [row["state"] for row in status if row["partition"] == DAY] == ["published"]
        forced = cli("run", deployment, "--partition", DAY, "--force", "--json")
        assert forced.code == 0, forced.err
        assert cli("recover", deployment).code == 0
    down = cli("run", deployment, "--partition", "2024-03-01")
    assert down.code == 3
    assert "s3://scores/churn" in down.err


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("path: scores/churn", "path: s3://b/x", "an object store needs publish: {mode: pointer}"),
        ("path: scores/churn", "path: ftp://b/x", "is in no store that is known"),
        ("path: scores/churn", "path: s3://me:secret@b/x", "holds credentials"),
        ("engine:", "publish: {mode: pionter}\nengine:", "publish.mode"),
        ("engine:", "publish: {lock_seconds: 0}\nengine:", "publish.lock_seconds"),
    ],
)
def test_a_bad_way_to_publish_is_refused(project: Path, cli: Cli, old: str, new: str, expected: str) -> None:
    deployment = project / "dags" / "churn.yaml"
    deployment.write_text(deployment.read_text().replace(old, new))
    before = tree(project)
    result = cli("run", deployment, "--partition", DAY)
    assert result.code == 2
    assert expected in result.err
    assert "secret" not in result.err
    assert tree(project) == before
