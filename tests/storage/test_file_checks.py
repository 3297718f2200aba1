"""Stored files compared with what was recorded of them, in memory."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from fakes import FakeStorage

from batchdeploy.core.records import OutputFile
from batchdeploy.storage.file_checks import file_problems
from batchdeploy.storage.interface import write

CONTENT = b"rows" * 1000
FILE = OutputFile(
    path="part-0.parquet", rows=10, size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest()
)
SIZE, DIGEST = "was written with 4000 bytes", f"was written with SHA-256 {FILE.sha256}"
CASES = {
    "as it was written": (CONTENT, None, None),
    "gone": (None, "is not there", "is not there"),
    "cut short": (CONTENT[:-1], SIZE, SIZE),
    "another content": (b"x" + CONTENT[1:], None, DIGEST),
}


@pytest.mark.parametrize(("stored", "by_size", "by_content"), CASES.values(), ids=CASES)
def test_files_are_compared(stored: bytes | None, by_size: str | None, by_content: str | None) -> None:
    storage = FakeStorage()
    if stored is not None:
        write(storage, "there/part-0.parquet", stored)
    for content, expected in ((False, by_size), (True, by_content)):
        found = file_problems(storage, {"there/part-0.parquet": FILE}, content=content)
        assert [(problem.path, problem.problem) for problem in found] == (
            [("there/part-0.parquet", expected)] if expected else []
        )


def test_each_file_that_differs_is_named() -> None:
    storage = FakeStorage()
    write(storage, "b", CONTENT)
    files = {"a": FILE, "b": FILE, "c": replace(FILE, path="c")}
    assert [problem.path for problem in file_problems(storage, files, content=True)] == ["a", "c"]
