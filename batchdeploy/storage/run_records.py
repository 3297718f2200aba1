"""The records of a run as files: which file holds which, read, found and written whole."""

from __future__ import annotations

import uuid
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from batchdeploy.core.layout import OUTPUT
from batchdeploy.core.records import CheckReport, DriftReport, Manifest, Plan, Refusal, ScoredBatch
from batchdeploy.core.system_errors import told_as_ours
from batchdeploy.documents import from_json, to_json
from batchdeploy.errors import BatchdeployError, Problem, RequestError
from batchdeploy.host.file_modes import make_folder, restrict

T = TypeVar("T")
PAGE, PAGE_END, TAIL = "report.html", b"</html>", 64
FILES: dict[type, str] = {
    Plan: "plan.json",
    CheckReport: "check.json",
    ScoredBatch: "scored.json",
    DriftReport: "drift.json",
    Refusal: "refusal.json",
    Manifest: "manifest.json",
}


def read(folder: Path, kind: type[T]) -> T:
    """The record of a kind in a run's folder.

    Raises:
        RequestError: the run did not get that far.
    """
    found = find(folder, kind)
    if found is None:
        raise RequestError(str(folder), (Problem(FILES[kind], "is not there; the run did not get that far"),))
    return found


def find(folder: Path, kind: type[T]) -> T | None:
    """The record of a kind in a run's folder, or None."""
    file = folder / FILES[kind]
    return from_json(kind, file.read_bytes(), where=str(file)) if file.is_file() else None


def find_output(folder: Path) -> str:
    """What the model printed in a run, empty where it printed nothing."""
    file = folder / OUTPUT
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def write(folder: Path, record: T) -> T:
    """Writes a record to a run's folder, whole or not at all, and gives it back."""
    write_page(folder / FILES[type(record)], to_json(record))
    return record


def is_whole(page: Path) -> bool:
    """Whether a page is there, to its last line."""
    try:
        with page.open("rb") as stream:
            stream.seek(max(0, page.stat().st_size - TAIL))
            return stream.read().rstrip().endswith(PAGE_END)
    except OSError:
        return False


def write_refusal(folder: Path, error: BatchdeployError) -> None:
    """Writes why a gate refused."""
    problems = tuple(map(str, error.problems))
    write(folder, Refusal(gate=type(error).__name__, where=error.where, problems=problems, hint=error.hint))


def write_page(file: Path, text: str) -> None:
    """Writes a text to a file, whole or not at all."""
    scratch = file.with_suffix(f".{uuid.uuid4().hex[:12]}.tmp")
    with told_as_ours(str(file)):
        make_folder(file.parent)
        try:
            scratch.write_text(text, encoding="utf-8")
            restrict(scratch)
            scratch.replace(file)
        except OSError:
            with suppress(OSError):
                scratch.unlink(missing_ok=True)
            raise
