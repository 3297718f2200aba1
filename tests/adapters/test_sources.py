from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests_support import customers, tree, write_day

from batchdeploy.adapters.parquet_splits import inspect
from batchdeploy.adapters.sources import local_files
from batchdeploy.adapters.sources.dvc import DvcSource, recorded_md5s
from batchdeploy.adapters.sources.folder import FolderSource
from batchdeploy.core.deployment import DataRef, PartitionSpec
from batchdeploy.errors import DataError, PartitionError, SourceError

REF = DataRef(path="data", partition=PartitionSpec(column="date"), keys=("customer_id",))


def git(root: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def dvc(root: Path, *words: str) -> None:
    subprocess.run(["dvc", *words, "-q"], cwd=root, check=True, capture_output=True)


def test_pins_every_file_by_its_content(tmp_path: Path) -> None:
    write_day(tmp_path / "data", "2024-01-01", customers("a", 5))
    store = FolderSource(tmp_path)
    first = store.pin(REF, "2024-01-01")
    assert [file.path for file in first.files] == ["date=2024-01-01/part-0.parquet"]
    assert (first.tracked, first.rev) == ("plain", None)
    assert store.pin(REF, "2024-01-01") == first
    write_day(tmp_path / "data", "2024-01-01", customers("b", 5))
    assert store.pin(REF, "2024-01-01").digest != first.digest


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read to be hashed from here on."""
    read: list[str] = []
    digest = hashlib.file_digest

    def counted(stream: Any, kind: Any) -> Any:
        read.append(Path(stream.name).name)
        return digest(stream, kind)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    return read


def test_a_file_is_read_again_only_where_it_may_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hashed: list[str]
) -> None:
    monkeypatch.setattr(local_files, "SETTLED_NS", 0)
    write_day(tmp_path / "data", "2024-01-01", customers("a", 5))
    file = next((tmp_path / "data").rglob("*.parquet"))
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    # A few ticks of the filesystem's clock.
    time.sleep(0.1)
    store = FolderSource(tmp_path)
    first = store.pin(REF, "2024-01-01")
    assert store.pin(REF, "2024-01-01") == first
    assert hashed == ["part-0.parquet"]
    content = bytearray(file.read_bytes())
    content[8] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=times)
    assert store.pin(REF, "2024-01-01").digest != first.digest
    assert len(hashed) == 2
    content[8] ^= 1
    other = tmp_path / "other"
    other.write_bytes(content)
    os.utime(other, ns=times)
    other.rename(file)
    assert store.pin(REF, "2024-01-01") == first
    assert len(hashed) == 3
    assert FolderSource(tmp_path).pin(REF, "2024-01-01") == first
    assert len(hashed) == 4


def test_a_file_that_was_just_written_is_read_every_time(tmp_path: Path, hashed: list[str]) -> None:
    write_day(tmp_path / "data", "2024-01-01", customers("a", 5))
    store = FolderSource(tmp_path)
    assert store.pin(REF, "2024-01-01") == store.pin(REF, "2024-01-01")
    assert len(hashed) == 2


def test_lists_partitions_in_order_and_names_the_unknown(tmp_path: Path) -> None:
    for day in ("2024-01-02", "2024-01-01"):
        write_day(tmp_path / "data", day, customers(day, 2))
    store = FolderSource(tmp_path)
    assert store.partitions(REF) == ("2024-01-01", "2024-01-02")
    with pytest.raises(PartitionError, match="there are 2 from 2024-01-01 to 2024-01-02"):
        store.pin(REF, "2024-02-01")


@pytest.mark.parametrize("name", ["notes.csv", "part-1.parquet.crc.txt", "nested"])
def test_refuses_a_stray_file(tmp_path: Path, name: str) -> None:
    file = write_day(tmp_path / "data", "2024-01-01", customers("a", 2))
    (file.parent / name).mkdir() if name == "nested" else (file.parent / name).touch()
    with pytest.raises(DataError, match=name):
        FolderSource(tmp_path).pin(REF, "2024-01-01")


def test_markers_are_skipped_and_empty_folders_are_not_partitions_to_score(tmp_path: Path) -> None:
    file = write_day(tmp_path / "data", "2024-01-01", customers("a", 2))
    (file.parent / "_SUCCESS").touch()
    assert len(FolderSource(tmp_path).pin(REF, "2024-01-01").files) == 1
    (tmp_path / "data" / "date=2024-01-02").mkdir()
    with pytest.raises(PartitionError, match="holds no Parquet file"):
        FolderSource(tmp_path).pin(REF, "2024-01-02")


def test_footers_of_all_files_are_read(tmp_path: Path) -> None:
    frame = customers("a", 4)
    file = write_day(tmp_path / "data", "2024-01-01", frame)
    frame.drop(columns="visits").assign(age=1).to_parquet(file.parent / "part-1.parquet", index=False)
    (file.parent / "part-2.parquet").touch()
    (file.parent / "part-3.parquet").write_text("<html>")
    with pytest.raises(DataError) as caught:
        inspect(FolderSource(tmp_path).pin(REF, "2024-01-01"))
    text = str(caught.value)
    assert "part-1.parquet: lacks the column visits" in text
    assert "holds age as another type than date=2024-01-01/part-0.parquet: expected double, got int64" in text
    assert "part-2.parquet: cannot be read as Parquet, got 0 bytes" in text
    assert "part-3.parquet: is not Parquet; it looks like an HTML or XML page" in text


@pytest.fixture
def tracked(tmp_path: Path) -> Path:
    """A DVC repository with one committed partition, whose workspace has moved on since."""
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "-q")
    dvc(root, "init")
    write_day(root / "data", "2024-01-01", customers("a", 5))
    dvc(root, "add", "data")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first")
    return root


@pytest.mark.slow
def test_says_whether_the_workspace_is_what_dvc_recorded(tracked: Path) -> None:
    def pin() -> str:
        store = FolderSource(tracked, recorded=lambda folder: recorded_md5s(tracked, folder))
        return store.pin(REF, "2024-01-01").tracked

    assert pin() == "dvc"
    write_day(tracked / "data", "2024-01-01", customers("b", 5))
    assert pin() == "modified"
    assert recorded_md5s(tracked, tracked / "elsewhere") is None


@pytest.mark.slow
def test_reads_a_revision_whatever_the_workspace_holds(tracked: Path) -> None:
    before = FolderSource(tracked).pin(REF, "2024-01-01")
    dvc(tracked, "unprotect", "data")
    write_day(tracked / "data", "2024-01-01", customers("b", 7))
    write_day(tracked / "data", "2024-01-02", customers("c", 7))
    store, ref = DvcSource(tracked), replace(REF, rev="HEAD")
    pin = store.pin(ref, "2024-01-01")
    assert pin.rev == git(tracked, "rev-parse", "HEAD")
    assert pin.digest == before.digest
    assert inspect(pin).rows == 5
    assert store.partitions(ref) == ("2024-01-01",)
    with pytest.raises(PartitionError, match="no such partition"):
        store.pin(ref, "2024-01-02")


@pytest.mark.slow
def test_a_revision_that_is_not_there_or_not_in_the_cache(tracked: Path) -> None:
    with pytest.raises(DataError, match=r"data\.rev"):
        DvcSource(tracked).pin(replace(REF, rev="nonesuch"), "2024-01-01")
    with pytest.raises(DataError, match="DVC does not track"):
        DvcSource(tracked).pin(replace(REF, path="other", rev="HEAD"), "2024-01-01")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lost", "known"),
    [("the rows", "at the revision"), ("the listing", "since")],
)
def test_what_the_cache_lacks_is_there_after_the_command_of_the_hint(
    tracked: Path, tmp_path: Path, lost: str, known: str
) -> None:
    dvc(tracked, "remote", "add", "-d", "store", str(tmp_path / "the store"))
    dvc(tracked, "push")
    if known == "at the revision":
        git(tracked, "commit", "-qam", "a remote")
    ref = replace(REF, rev=git(tracked, "rev-parse", "HEAD"), fetch=False)
    before = DvcSource(tracked).pin(ref, "2024-01-01")
    listings = list((tracked / ".dvc" / "cache").rglob("*.dir"))
    # The workspace changes, so that `dvc pull` restores other rows than the revision's.
    dvc(tracked, "unprotect", "data")
    write_day(tracked / "data", "2024-01-01", customers("b", 7))
    dvc(tracked, "add", "data")
    for file in listings if lost == "the listing" else [Path(before.files[0].location)]:
        file.unlink()
    with pytest.raises(SourceError, match="not in the DVC cache") as caught:
        DvcSource(tracked).pin(ref, "2024-01-01")
    subprocess.run(str(caught.value.hint), shell=True, check=True, capture_output=True, cwd=tmp_path)
    assert DvcSource(tracked).pin(ref, "2024-01-01") == before


@pytest.mark.slow
def test_what_dvc_records_without_keeping_it_has_no_revisions(tracked: Path) -> None:
    file = tracked / "data.dvc"
    file.write_text(file.read_text() + "  cache: false\n")
    git(tracked, "commit", "-qam", "no cache")
    with pytest.raises(DataError, match="without keeping it"):
        DvcSource(tracked).pin(replace(REF, rev="HEAD"), "2024-01-01")


@pytest.mark.slow
def test_reading_what_dvc_recorded_writes_nothing(tracked: Path) -> None:
    shutil.rmtree(tracked / ".dvc" / "tmp")
    before = tree(tracked)
    assert (
        FolderSource(tracked, recorded=partial(recorded_md5s, tracked)).pin(REF, "2024-01-01").tracked
        == "dvc"
    )
    DvcSource(tracked).pin(replace(REF, rev="HEAD"), "2024-01-01")
    assert tree(tracked) == before


@pytest.mark.slow
def test_a_folder_outside_any_repository(tmp_path: Path) -> None:
    with pytest.raises((DataError, SourceError)):
        DvcSource(tmp_path).pin(replace(REF, rev="HEAD"), "2024-01-01")
