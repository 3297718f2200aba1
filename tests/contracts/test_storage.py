"""What every storage does: the fake one, a folder, obstore in memory, and S3 over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import FakeStorage
from faults.stores import BUCKET, ENVIRONMENT

from batchdeploy.core.layout import Layout
from batchdeploy.errors import PublishError
from batchdeploy.storage.files import Disk
from batchdeploy.storage.folder_storage import FolderStorage
from batchdeploy.storage.interface import Storage, copy, write
from batchdeploy.storage.locking import locked
from batchdeploy.storage.object_storage import ObjectStorage

KEY = "runs/date=2013-02-01/0123456789abcdef/plan.json"
KEYS = (KEY, "a b/two  spaces.json", "ü/日本/plan é.json", "percent%20/plus+/hash#.json", "top.json")
LARGE = b"0123456789abcdef" * 2**20


@pytest.fixture(params=["fake", "folder", "memory", "S3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    if request.param == "fake":
        return FakeStorage()
    if request.param == "folder":
        layout = Layout(tmp_path / "scores")
        return FolderStorage(layout.control, partial(locked, layout, 30.0), Disk())
    if request.param == "memory":
        return ObjectStorage("memory:///")
    port = request.getfixturevalue("s3_port")
    for name, value in (ENVIRONMENT | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}).items():
        monkeypatch.setenv(name, value)
    return ObjectStorage(f"s3://{BUCKET}/{tmp_path.name}")


def keys(storage: Storage, prefix: str = "") -> list[str]:
    """Without the folder's lock, which is no key of anybody's."""
    return sorted(entry.key for entry in storage.list(prefix) if not entry.key.startswith("lock"))


def content(storage: Storage, key: str) -> bytes | None:
    found = storage.read(key)
    return None if found is None else found.content


@pytest.mark.parametrize("key", KEYS)
def test_what_is_written_is_read(storage: Storage, key: str) -> None:
    write(storage, key, b"first")
    write(storage, key, b"second")
    assert content(storage, key) == b"second"
    assert keys(storage) == [key]
    with storage.open_input(key) as stream:
        stream.seek(2)
        assert stream.read() == b"cond"
    storage.delete(key)
    assert content(storage, key) is None
    assert keys(storage) == []


def test_a_missing_key(storage: Storage) -> None:
    assert storage.read(KEY) is None
    with pytest.raises(FileNotFoundError):
        storage.open_input(KEY)
    storage.delete(KEY)
    assert list(storage.list("runs")) == []


def test_a_prefix_is_made_of_whole_names(storage: Storage) -> None:
    for key in ("a/b/1", "a/b/c/2", "a/bb/3", "d"):
        write(storage, key, b"x" * len(key))
    assert keys(storage) == ["a/b/1", "a/b/c/2", "a/bb/3", "d"]
    assert keys(storage, "a/b") == ["a/b/1", "a/b/c/2"]
    assert keys(storage, "a/nothing") == []
    (entry,) = storage.list("a/bb")
    assert (entry.key, entry.size) == ("a/bb/3", 6)
    assert entry.modified > 1e9


def test_create_takes_place_once(storage: Storage) -> None:
    assert storage.create(KEY, b"first")
    assert not storage.create(KEY, b"second")
    assert content(storage, KEY) == b"first"


def test_swap_replaces_the_state_that_was_seen(storage: Storage) -> None:
    storage.create(KEY, b"first")
    first = storage.read(KEY)
    assert first is not None
    assert storage.swap(KEY, b"second", first.token)
    assert not storage.swap(KEY, b"third", first.token)
    assert content(storage, KEY) == b"second"
    second = storage.read(KEY)
    assert second is not None
    assert second.token != first.token
    storage.delete(KEY)
    assert not storage.swap(KEY, b"fourth", second.token)
    assert content(storage, KEY) is None


def test_a_copy_is_another_key(storage: Storage) -> None:
    other = "runs/date=2013-02-01/0123456789abcdef/attempts/1/plan.json"
    assert not copy(storage, KEY, other)
    assert content(storage, other) is None
    for text in (b"first", b"second"):
        write(storage, KEY, text)
        assert copy(storage, KEY, other)
        assert copy(storage, KEY, other)
        assert content(storage, other) == text
    write(storage, KEY, b"third")
    assert content(storage, other) == b"second"
    storage.delete(KEY)
    assert keys(storage) == [other]


def test_what_a_killed_writer_left_is_overwritten_by_the_next(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path, nullcontext, Disk(power=False), alone=True)
    left = tmp_path / "manifest.json.tmp"
    left.write_bytes(b"half of a manif")
    write(storage, "manifest.json", b"whole")
    assert (content(storage, "manifest.json"), left.exists()) == (b"whole", False)


def at_once(call: Callable[[int], Any], number: int = 4) -> list[Any]:
    barrier = Barrier(number)

    def wait_and_call(which: int) -> Any:
        barrier.wait()
        return call(which)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(wait_and_call, range(number)))


def test_of_those_who_create_at_once_one_does(storage: Storage) -> None:
    for number in range(5):
        key = f"claims/{number}"
        done = at_once(lambda which, key=key: storage.create(key, str(which).encode()))  # type: ignore[misc]
        assert sum(done) == 1
        assert content(storage, key) == str(done.index(True)).encode()


def test_of_those_who_swap_at_once_none_is_lost(storage: Storage) -> None:
    """Each raises a number until that went through ten times."""
    storage.create("number", b"0")

    def count(_which: int) -> int:
        done = 0
        while done < 10:
            seen = storage.read("number")
            assert seen is not None
            done += storage.swap("number", str(int(seen.content) + 1).encode(), seen.token)
        return done

    at_once(count, number=2)
    assert content(storage, "number") == b"20"


@pytest.mark.parametrize("large", [b"", b"half", LARGE], ids=["nothing", "a little", "16 MiB"])
@pytest.mark.parametrize("before", [None, b"what was there"], ids=["new", "replaced"])
def test_a_failure_in_the_middle_of_a_write_leaves_nothing(
    storage: Storage, before: bytes | None, large: bytes
) -> None:
    if before is not None:
        write(storage, KEY, before)

    def fail() -> None:
        with storage.open_output(KEY) as stream:
            stream.write(large)
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert content(storage, KEY) == before
    assert keys(storage) == ([] if before is None else [KEY])


@pytest.mark.parametrize("size", [0, 1, len(LARGE)])
def test_a_stream_of_any_length_arrives_whole(storage: Storage, size: int) -> None:
    with storage.open_output(KEY) as stream:
        stream.write(LARGE[:size])
    assert content(storage, KEY) == LARGE[:size]


def test_parquet_goes_in_and_out(storage: Storage) -> None:
    table = pa.table({"key": range(100_000), "score": [i / 7 for i in range(100_000)]})
    with storage.open_output("data/part-00000.parquet") as stream:
        pq.write_table(table, stream, row_group_size=10_000)
    with storage.open_input("data/part-00000.parquet") as stream:
        assert pq.read_table(stream).equals(table)
    with storage.open_input("data/part-00000.parquet") as stream:
        assert pq.ParquetFile(stream).read_row_group(3, ["key"])["key"][0].as_py() == 30_000


def test_a_key_does_not_lead_out_of_a_folder(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "scores")
    storage = FolderStorage(layout.control, partial(locked, layout, 1.0), Disk())
    for key in ("../escaped", "a/../../escaped", "/etc/passwd"):
        with pytest.raises(ValueError, match="no key"):
            storage.read(key)


def test_a_server_that_does_not_answer_is_an_error_of_the_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (ENVIRONMENT | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("batchdeploy.storage.object_storage.TRIES", {"max_retries": 0})
    storage = ObjectStorage(f"s3://{BUCKET}/x")
    for call in (
        lambda: storage.read(KEY),
        lambda: storage.create(KEY, b""),
        lambda: storage.swap(KEY, b"", {"e_tag": "1"}),
        lambda: list(storage.list("")),
        lambda: storage.delete(KEY),
        lambda: storage.open_input(KEY),
        lambda: write(storage, KEY, b"x"),
    ):
        with pytest.raises(OSError, match=r"\S"):
            call()


def test_a_target_that_no_store_answers_for_is_refused() -> None:
    with pytest.raises(PublishError, match="cannot be opened"):
        ObjectStorage("ftp://host/x")
