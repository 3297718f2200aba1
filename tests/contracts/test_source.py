"""What every source does: the one in memory, folders, and revisions that DVC recorded."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pytest
from fakes import FakeSource
from object_stores import Bucket, new_bucket
from tests_support import customers, write_day

from batchdeploy.adapters.sources.dvc import DvcSource
from batchdeploy.adapters.sources.folder import FolderSource
from batchdeploy.adapters.sources.object_folder import ObjectFolderSource
from batchdeploy.core.deployment import DataRef, PartitionSpec
from batchdeploy.core.pins import digest_files
from batchdeploy.errors import DataError, PartitionError
from batchdeploy.ports import Source

FIRST, SECOND = "2024-01-01", "2024-01-02"
REF = DataRef(path="data", partition=PartitionSpec(column="date"), keys=("customer_id",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A source and the way to bring it rows.

    Attributes:
        put: sets a partition's rows to those of `customers` with this seed, in one file.
        open: the source, as a new process would open it.
        ref: what to ask it for.
        elsewhere: a path where nothing is.
        by_content: whether equal rows have equal pins, however often they are stored.
        keeps_pins: whether what was pinned stays readable when other rows take its place.
    """

    put: Callable[[str, str], None]
    open: Callable[[], Source]
    ref: DataRef = REF
    keeps_pins: bool = False
    elsewhere: str = "elsewhere"
    by_content: bool = True


def table_of(seed: str) -> pa.Table:
    return pa.Table.from_pandas(customers(seed, 5), preserve_index=False)


def in_memory(_: Path) -> Place:
    source = FakeSource()

    def put(partition: str, seed: str) -> None:
        source.put("data", partition, table_of(seed))

    return Place(put=put, open=lambda: source)


def in_a_folder(root: Path) -> Place:
    def put(partition: str, seed: str) -> None:
        write_day(root / "data", partition, customers(seed, 5))

    return Place(put=put, open=lambda: FolderSource(root))


def recorded_by_dvc(root: Path) -> Place:
    def run(*words: str) -> None:
        subprocess.run(words, cwd=root, check=True, capture_output=True)

    run("git", "init", "-q")
    run("dvc", "init", "-q")

    def put(partition: str, seed: str) -> None:
        if (root / "data.dvc").exists():
            run("dvc", "unprotect", "data", "-q")
        write_day(root / "data", partition, customers(seed, 5))
        run("dvc", "add", "data", "-q")
        run("git", "add", "-A")
        run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", seed)

    return Place(put=put, open=lambda: DvcSource(root), ref=replace(REF, rev="HEAD"), keeps_pins=True)


def in_a_bucket(bucket: Bucket) -> Place:
    def put(partition: str, seed: str) -> None:
        bucket.put(f"a b/data%20é/date={partition}/part-0.parquet", table_of(seed))

    ref = replace(REF, path=f"{bucket.uri}/a b/data%20é")
    return Place(
        put=put,
        open=lambda: ObjectFolderSource(bucket.storage),
        ref=ref,
        elsewhere=f"{bucket.uri}/elsewhere",
        by_content=False,
    )


KINDS = {"fake": in_memory, "folder": in_a_folder, "dvc": recorded_by_dvc}
SLOW = (pytest.param(kind, marks=pytest.mark.slow) for kind in ("dvc", "Azure"))


@pytest.fixture(params=["fake", "folder", "S3", "S3 with versions", *SLOW])
def place(request: pytest.FixtureRequest, tmp_path: Path, store_credentials: None) -> Place:
    """A source with two partitions."""
    if request.param in KINDS:
        made = KINDS[request.param](tmp_path)
    else:
        made = in_a_bucket(new_bucket(request, request.param))
    made.put(SECOND, "b")
    made.put(FIRST, "a")
    return made


def test_partitions_are_listed_in_order_and_pinned_by_their_content(place: Place) -> None:
    source = place.open()
    assert source.partitions(place.ref) == (FIRST, SECOND)
    pin = source.pin(place.ref, FIRST)
    assert pin.path == place.ref.path
    assert [file.path.partition("/")[0] for file in pin.files] == [f"date={FIRST}"]
    assert pin.digest == digest_files((file.path, file.fingerprint) for file in pin.files)
    assert pin == source.pin(place.ref, FIRST) == place.open().pin(place.ref, FIRST)
    assert pin.digest != source.pin(place.ref, SECOND).digest


def test_a_pin_changes_with_its_own_rows_and_no_others(place: Place) -> None:
    before = place.open().pin(place.ref, FIRST)
    place.put(SECOND, "c")
    assert place.open().pin(place.ref, FIRST).digest == before.digest
    place.put(FIRST, "c")
    assert place.open().pin(place.ref, FIRST).digest != before.digest
    place.put(FIRST, "a")
    if place.by_content:
        assert place.open().pin(place.ref, FIRST).digest == before.digest


def test_changes_since_a_pin_are_told_by_file(place: Place) -> None:
    before = place.open().pin(place.ref, FIRST)
    place.put(SECOND, "c")
    assert place.open().changes(place.ref, FIRST, before) == ()
    place.put(FIRST, "c")
    changes = place.open().changes(place.ref, FIRST, before)
    if place.keeps_pins:
        assert changes == ()
    else:
        assert [(c.path, c.problem) for c in changes] == [
            (before.files[0].path, "changed since it was pinned")
        ]


def test_what_is_not_there_is_told_apart(place: Place) -> None:
    source = place.open()
    with pytest.raises(PartitionError, match=r"no such partition.*2024-02-01"):
        source.pin(place.ref, "2024-02-01")
    elsewhere = replace(place.ref, path=place.elsewhere)
    for question in (lambda: source.partitions(elsewhere), lambda: source.pin(elsewhere, FIRST)):
        with pytest.raises(DataError, match="elsewhere"):
            question()


def test_a_partition_that_no_schedule_asks_for_is_a_problem(place: Place) -> None:
    assert place.open().partition_problems(place.ref) == ()
    place.put("2024-1-3", "c")
    (problem,) = place.open().partition_problems(place.ref)
    assert problem.path == "date=2024-1-3"
    assert "2024-01-03; rename it" in problem.problem
