"""The guard of the tests on fakes bites: planted writes are seen."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.guard import FileWrittenError, no_file_written

WRITES: dict[str, Callable[[Path], object]] = {
    "open": lambda file: file.open("w"),
    "write_text": lambda file: file.write_text("x"),
    "os.open": lambda file: os.open(file, os.O_CREAT | os.O_WRONLY),
    "mkdir": lambda file: file.mkdir(),
    "rename": lambda file: file.parent.rename(file.parent.with_name("renamed")),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_a_planted_write_is_seen(tmp_path: Path, write: Callable[[Path], object]) -> None:
    with pytest.raises(FileWrittenError), no_file_written():
        write(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_reading_is_no_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with no_file_written():
        assert (tmp_path / "file").read_text() == "x"


class Owner:
    """Deletes a file when it is collected; in a cycle with itself, so that only the collector does it."""

    def __init__(self, file: Path) -> None:
        file.write_text("x")
        self.cycle = self
        weakref.finalize(self, file.unlink)


def test_garbage_of_earlier_tests_deletes_no_file_meanwhile(tmp_path: Path) -> None:
    gc.collect()
    Owner(tmp_path / "file")
    with no_file_written():
        # As many objects as would start a collection.
        assert [[] for _ in range(3 * gc.get_threshold()[0])]
        assert (tmp_path / "file").exists()
    gc.collect()
    assert not (tmp_path / "file").exists()
