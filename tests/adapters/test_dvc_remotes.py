"""What DVC records and the cache lacks is fetched from its remote: one partition, verified."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from dvc_projects import (
    DATA,
    FIRST,
    SECOND,
    THIRD,
    cached,
    clone,
    commit,
    dvc,
    git,
    init,
    set_remote,
    two_commits,
    write_rows,
)

from batchdeploy.adapters.parquet_splits import inspect
from batchdeploy.adapters.sources.dvc import DvcSource, DvcWorkspace, pull_command, recorded_md5s
from batchdeploy.adapters.sources.dvc.transfer import place
from batchdeploy.adapters.sources.folder import FolderSource
from batchdeploy.core.deployment import DataRef, PartitionSpec
from batchdeploy.errors import DataError, MissingPackageError, PartitionError, SourceError

pytestmark = pytest.mark.slow

REF = DataRef(path=DATA, partition=PartitionSpec(column="date"), keys=("customer_id",))
BEFORE = replace(REF, rev="HEAD~1")
NOW = replace(REF, rev="HEAD")
FETCHED = replace(REF, fetch=True)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two commits and a local remote, whose address is relative to the project."""
    root = tmp_path_factory.mktemp("local") / "origin"
    two_commits(root, "../../the store", DATA)
    return root


@pytest.fixture
def bare(origin: Path, tmp_path: Path) -> Path:
    """A bare clone beside a copy of the remote, which a test may spoil."""
    shutil.copytree(origin.parent / "the store", tmp_path / "the store")
    return clone(origin, tmp_path / "clone")


def md5_of(root: Path, rev: str, partition: str) -> str:
    """The recorded hash of a partition's only file, by DVC itself."""
    with dvc(root) as repo:
        from dvc.api import DVCFileSystem

        files = DVCFileSystem(str(root), rev=rev)
        del repo
        return str(files.info(f"/{DATA}/date={partition}/part-0.parquet")["md5"])


def stored(root: Path, oid: str) -> Path:
    """An object of the local remote."""
    return root.parent / "the store" / "files" / "md5" / oid[:2] / oid[2:]


def test_a_bare_clone_reads_each_revision_and_fetches_only_the_partition(origin: Path, bare: Path) -> None:
    source = DvcSource(bare)
    assert source.partitions(BEFORE) == (FIRST, SECOND)
    (listing,) = cached(bare)
    assert listing.endswith(".dir")
    pin = source.pin(BEFORE, FIRST)
    assert pin.rev == git(bare, "rev-parse", "HEAD~1")
    assert [file.md5 for file in pin.files] == [md5_of(origin, "HEAD~1", FIRST)]
    assert cached(bare) == {listing, pin.files[0].md5}
    assert inspect(pin).rows == 5
    assert inspect(source.pin(NOW, FIRST)).rows == 7
    assert source.partitions(NOW) == (FIRST, SECOND, THIRD)
    assert not (bare / DATA).exists()
    assert git(bare, "status", "--porcelain") == ""


def test_the_workspace_is_compared_with_what_is_recorded_partition_by_partition(tmp_path: Path) -> None:
    root = tmp_path / "origin"
    init(root)
    set_remote(root, "../../the store")
    for day in (FIRST, SECOND):
        write_rows(root, day, day)
    commit(root, f"{DATA}/date={FIRST}", f"{DATA}/date={SECOND}")
    source = FolderSource(root, recorded=lambda folder: recorded_md5s(root, folder))
    assert source.partition_problems(REF) == ()
    assert source.pin(REF, FIRST).tracked == "dvc"
    write_rows(root, FIRST, "later")
    assert source.pin(REF, FIRST).tracked == "modified"
    commit(root, f"{DATA}/date={FIRST}")
    assert source.pin(REF, FIRST).tracked == "dvc"


@pytest.mark.parametrize("ref", [BEFORE, NOW, FETCHED], ids=["older", "newest", "workspace"])
@pytest.mark.parametrize("layout", ["above", "each"])
def test_the_folder_may_be_tracked_above_or_partition_by_partition(
    tmp_path: Path, layout: str, ref: DataRef
) -> None:
    root = tmp_path / "origin"
    init(root)
    set_remote(root, "../../the store")
    days = (FIRST, SECOND, THIRD)
    for number, day in enumerate(days[1:], 1):
        for each in days[: number + 1]:
            write_rows(root, each, f"{each} {number}")
        tracked = ("data",) if layout == "above" else [f"{DATA}/date={d}" for d in days[: number + 1]]
        commit(root, *tracked, message=day)
    bare = clone(root, tmp_path / "clone")
    source = DvcSource(bare)
    assert source.partitions(ref) == (days if ref is not BEFORE else days[:2])
    pin = source.pin(ref, FIRST)
    assert [file.path for file in pin.files] == [f"date={FIRST}/part-0.parquet"]
    assert pin.files[0].md5 == md5_of(root, "HEAD~1" if ref is BEFORE else "HEAD", FIRST)
    assert {oid for oid in cached(bare) if not oid.endswith(".dir")} == {pin.files[0].md5}
    assert len(cached(bare)) == 2
    with pytest.raises(PartitionError, match="no such partition"):
        source.pin(ref, "2024-02-01")


def test_markers_are_not_fetched_and_a_stray_file_is_named(tmp_path: Path) -> None:
    root = tmp_path / "origin"
    init(root)
    set_remote(root, "../../the store")
    write_rows(root, FIRST, "a")
    write_rows(root, SECOND, "b")
    (root / DATA / f"date={FIRST}" / "_SUCCESS").write_text("done")
    (root / DATA / f"date={SECOND}" / "notes.csv").write_text("a,b")
    commit(root, DATA)
    bare = clone(root, tmp_path / "clone")
    pin = DvcSource(bare).pin(NOW, FIRST)
    assert [file.path for file in pin.files] == [f"date={FIRST}/part-0.parquet"]
    assert len(cached(bare)) == 2
    with pytest.raises(DataError, match=r"date=2024-01-02/notes\.csv: not a Parquet file"):
        DvcSource(bare).pin(NOW, SECOND)


def test_a_project_in_a_folder_of_its_repository(tmp_path: Path) -> None:
    top = tmp_path / "mono"
    top.mkdir()
    git(top, "init", "-q")
    root = top / "scoring"
    init(root, subdir=True)
    set_remote(
        root,
        "../../../the store",
    )
    write_rows(root, FIRST, "a")
    commit(root, DATA)
    pin = DvcSource(clone(top, tmp_path / "clone") / "scoring").pin(NOW, FIRST)
    assert (pin.rev, len(pin.files)) == (git(top, "rev-parse", "HEAD"), 1)


def test_what_dvc_records_and_is_not_in_the_workspace_names_the_one_command(origin: Path, bare: Path) -> None:
    def source() -> FolderSource:
        return FolderSource(
            bare,
            recorded=lambda folder: recorded_md5s(bare, folder),
            pull_command=lambda path: pull_command(bare, path),
        )

    with pytest.raises(DataError, match="recorded by DVC, but not in the workspace") as caught:
        source().pin(REF, SECOND)
    hint = str(caught.value.hint)
    assert hint == f"dvc --cd {bare} pull {DATA}/date={SECOND}, or data.fetch: true in the deployment"
    subprocess.run(hint.split(", or ", maxsplit=1)[0], shell=True, check=True, capture_output=True)
    pin = source().pin(REF, SECOND)
    assert (pin.tracked, pin.files[0].md5) == ("dvc", md5_of(origin, "HEAD", SECOND))
    with pytest.raises(PartitionError, match=r"recorded by DVC.*\n.*pull data/flights/date=2024-01-03"):
        source().pin(REF, THIRD)
    with pytest.raises(PartitionError, match="no such partition") as caught:
        source().pin(REF, "2024-02-01")
    assert "pull" not in str(caught.value)


def test_fetch_reads_what_is_not_in_the_workspace_from_the_cache(origin: Path, bare: Path) -> None:
    source = DvcWorkspace(FolderSource(bare), DvcSource(bare))
    assert source.partitions(FETCHED) == (FIRST, SECOND, THIRD)
    assert source.partition_problems(FETCHED) == ()
    pin = source.pin(FETCHED, FIRST)
    assert (pin.rev, pin.tracked) == (None, "dvc")
    assert pin.files[0].md5 == md5_of(origin, "HEAD", FIRST)
    assert inspect(pin).rows == 7
    assert not (bare / DATA).exists()
    # What lies in the workspace is read as it is.
    write_rows(bare, FIRST, "mine", rows=2)
    write_rows(bare, "2024-01-04", "mine")
    assert source.partitions(FETCHED) == (FIRST, SECOND, THIRD, "2024-01-04")
    pin = source.pin(FETCHED, FIRST)
    assert inspect(pin).rows == 2
    assert not pin.files[0].location.startswith(str(bare / ".dvc"))


def test_nothing_is_fetched_where_the_deployment_forbids_it(bare: Path) -> None:
    with pytest.raises(SourceError, match="not in the DVC cache"):
        DvcSource(bare).pin(replace(BEFORE, fetch=False), FIRST)
    assert not (bare / ".dvc" / "cache").exists()


SPOILS = {
    "lost": (lambda file: file.unlink(), "neither in the DVC cache nor in DVC remote store"),
    "spoilt": (lambda file: file.write_bytes(file.read_bytes()[:-1] + b"x"), "holds other content"),
    "cut": (lambda file: file.write_bytes(file.read_bytes()[:100]), "holds other content"),
    "empty": (lambda file: file.write_bytes(b""), "holds other content"),
}


@pytest.mark.parametrize("kind", SPOILS)
@pytest.mark.parametrize("what", ["rows", "listing"])
def test_a_lost_or_spoilt_object_of_the_remote_is_named_and_not_kept(
    origin: Path, bare: Path, what: str, kind: str
) -> None:
    spoil, message = SPOILS[kind]
    if what == "listing":
        DvcSource(bare).partitions(NOW)
        (oid,) = cached(bare)
        shutil.rmtree(bare / ".dvc" / "cache")
    else:
        oid = md5_of(origin, "HEAD", FIRST)
    stored(bare, oid).chmod(0o644)
    spoil(stored(bare, oid))
    with pytest.raises(SourceError, match=message) as caught:
        DvcSource(bare).pin(NOW, FIRST)
    assert caught.value.exit_code == 3
    assert len(caught.value.problems) == 1
    name = f"{DATA} (listing of the folder)" if what == "listing" else f"{DATA}/date={FIRST}/part-0.parquet"
    assert name in str(caught.value)
    assert oid not in cached(bare)
    # The other partitions are not affected by it.
    if what == "rows":
        assert inspect(DvcSource(bare).pin(NOW, SECOND)).rows == 5


def test_what_the_remote_of_the_revision_lacks_comes_from_that_of_the_workspace(
    origin: Path, bare: Path
) -> None:
    (bare.parent / "the store").rename(bare.parent / "moved")
    with pytest.raises(SourceError, match="cannot be read: there is no such folder"):
        DvcSource(bare).pin(BEFORE, FIRST)
    set_remote(bare, "../../moved")
    assert DvcSource(bare).pin(BEFORE, FIRST).files[0].md5 == md5_of(origin, "HEAD~1", FIRST)


REMOTES = {
    "none at all": ("", SourceError, r"no remote is known here.*\n.*dvc remote add --local -d"),
    "a missing plugin": ("gs://bucket/store", MissingPackageError, r"needs dvc-gs.*\n.*pip install dvc-gs"),
    "over SSH": ("ssh://host/store", MissingPackageError, r"needs dvc-ssh.*\n.*pip install dvc-ssh"),
}


@pytest.mark.parametrize("kind", REMOTES)
def test_a_remote_that_cannot_be_used_is_one_message(bare: Path, kind: str) -> None:
    url, error, message = REMOTES[kind]
    config = bare / ".dvc" / "config"
    set_remote(bare, url) if url else config.write_text("")
    git(bare, "commit", "-qam", "another remote")
    with pytest.raises(error, match=f"(?s){message}") as caught:
        DvcSource(bare).pin(NOW, FIRST)
    assert len(caught.value.problems) == 1


def test_two_runs_fetch_the_same_objects_at_once(bare: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from dataclasses import replace;"
        "from batchdeploy.adapters.sources.dvc import DvcSource;"
        "from batchdeploy.core.deployment import DataRef, PartitionSpec;"
        "source = DvcSource(Path(sys.argv[1]));"
        f"ref = DataRef(path={DATA!r}, partition=PartitionSpec(column='date'), keys=('id',), rev='HEAD');"
        "sys.stdin.readline();"
        f"print([source.pin(ref, day).digest for day in ({FIRST!r}, {SECOND!r}, {THIRD!r})])"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(bare)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("\n")
        run.stdin.flush()
    answers = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], answers
    assert len({out for out, _ in answers}) == 1
    assert len(cached(bare)) == 4


def test_an_object_that_is_there_is_never_replaced(bare: Path, tmp_path: Path) -> None:
    pin = DvcSource(bare).pin(NOW, FIRST)
    file = Path(pin.files[0].location)
    with dvc(bare) as repo:
        other = tmp_path / "again"
        shutil.copy(file, other)
        place(repo.cache.local, other, str(file))
    assert file.stat().st_ino == pin.files[0].identity[0]
    assert file.stat().st_mode & 0o777 == 0o444


def test_what_a_killed_download_left_is_taken_away(bare: Path) -> None:
    left = bare / ".dvc" / "cache" / "files" / ".batchdeploy-killed"
    working = left.with_name(".batchdeploy-working")
    for folder in (left, working):
        folder.mkdir(parents=True)
        (folder / "part").write_text("x")
    os.utime(left, (0, 0))
    DvcSource(bare).pin(NOW, FIRST)
    assert not left.exists()
    assert working.exists()
