"""Checks the invariants after a fault, with a listing, hashlib and pyarrow only, and no code under test."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

FOLDER = re.compile(r"[^/=.][^/=]*=[^/]+")
FILE = re.compile(r"part-\d{5}-([0-9a-f]{16})\.parquet")


class Content(NamedTuple):
    """A fingerprint of a run's rows: their number, the distinct keys, and a hash of the sorted rows."""

    rows: int
    keys: int
    digest: str


def content_of(table: pa.Table) -> Content:
    """The content of rows with the columns ``id`` and ``y``, whatever their order."""
    ids, values = table["id"].to_pylist(), table["y"].to_pylist()
    rows = sorted(zip(ids, values, strict=True))
    return Content(len(rows), len(set(ids)), hashlib.sha256(repr(rows).encode()).hexdigest())


def violations(root: Path, expected: dict[tuple[str, str], Content], *, settled: bool = True) -> list[str]:
    """All violations in a published table.

    Args:
        root: the table's folder.
        expected: the rows of each run in each partition; any other run is a violation.
        settled: whether recovery has run; before it, the records of a run with an intent may be missing.
    """
    control = root.with_name(root.name + ".batchdeploy")
    found = [*_public_tree(root)]
    for folder in sorted(root.glob("*=*")) if root.is_dir() else ():
        found += _partition(folder, control, expected, settled=settled)
    return [*found, *_control(control, settled=settled)]


def published_run(root: Path, folder: str) -> str | None:
    """The only run with files in a partition; None if there is none."""
    try:
        runs = {match[1] for name in os.listdir(root / folder) if (match := FILE.fullmatch(name))}
    except FileNotFoundError:
        return None
    return runs.pop() if len(runs) == 1 else f"mixed {sorted(runs)}"


def _public_tree(root: Path) -> Iterator[str]:
    for path, folders, files in os.walk(root):
        inside = os.path.relpath(path, root)
        for name in folders:
            if inside != "." or not FOLDER.fullmatch(name) or os.path.islink(os.path.join(path, name)):
                yield f"leftovers in the public tree: {inside}/{name}/"
        for name in files:
            if inside == "." or not FILE.fullmatch(name):
                yield f"leftovers in the public tree: {inside}/{name}"


def _partition(
    folder: Path, control: Path, expected: dict[tuple[str, str], Content], *, settled: bool
) -> Iterator[str]:
    files = sorted(folder.iterdir())
    runs = {match[1] if (match := FILE.fullmatch(file.name)) else file.name for file in files}
    if len(runs) != 1:
        yield f"mixed: {folder.name} holds the files of {sorted(runs) or 'no run'}"
        return
    run = runs.pop()
    try:
        table = pa.concat_tables(pq.read_table(file, partitioning=None, use_threads=False) for file in files)
    except (pa.ArrowException, OSError) as error:
        yield f"torn: {folder.name}: {error}"
        return
    if "_run_id" in table.column_names and (inside := set(table["_run_id"].to_pylist())) != {run}:
        yield f"mixed: {folder.name} is named {run} but holds rows of {sorted(inside)}"
    wanted = expected.get((folder.name, run))
    if wanted is None:
        yield f"unknown: {folder.name} shows the run {run}"
    elif (content := content_of(table)) != wanted:
        yield f"wrong rows: {folder.name} of run {run}: {content} instead of {wanted}"
    yield from _manifest(files, folder.name, run, (control, settled))


def _manifest(files: list[Path], folder: str, run: str, where: tuple[Path, bool]) -> Iterator[str]:
    control, settled = where
    file = control / "runs" / folder / run / "manifest.json"
    if not file.is_file():
        if settled:
            yield f"no manifest: {folder} shows {run}"
        return
    listed = {entry["path"]: entry["sha256"] for entry in json.loads(file.read_text())["files"]}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    if settled and listed != found:
        yield f"manifest: that of {run} does not list the files of {folder}"


def _control(control: Path, *, settled: bool) -> Iterator[str]:
    if not control.is_dir():
        return
    if settled:
        for place in ("intents", "staging", "trash"):
            for name in sorted(os.listdir(control / place)) if (control / place).is_dir() else ():
                yield f"leftovers: {place}/{name}"
        for path in control.rglob("*.tmp"):
            yield f"leftovers: {path.relative_to(control)}"
    if (control / "lock").exists():
        handle = os.open(control / "lock", os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield "the lock is held"
        finally:
            os.close(handle)
    if (control / "audit.jsonl").exists():
        lines = (control / "audit.jsonl").read_text().splitlines()
        if len(lines) != len(set(lines)):
            yield "the audit says something twice"
