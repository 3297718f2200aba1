"""Finds, reads, writes and verifies the records of runs, and maps each record type to its file name."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from io import SEEK_END
from typing import Any, NamedTuple, TypeVar

from batchdeploy.core.layout import ATTEMPTS, MANIFEST, OUTPUT, PAGE, PLAN, RUNS
from batchdeploy.core.records import (
    CheckReport,
    DriftReport,
    Manifest,
    OutputFile,
    Plan,
    Refusal,
    ScoredBatch,
)
from batchdeploy.core.system_errors import translate_system_errors
from batchdeploy.documents import from_json, to_json
from batchdeploy.errors import BatchdeployError, DataError, Problem, RequestError
from batchdeploy.storage.file_checks import file_problems
from batchdeploy.storage.interface import Storage, copy, names_below
from batchdeploy.storage.interface import write as store

T = TypeVar("T")
PAGE_END, TAIL = b"</html>", 64
# Bounds memory: a backfill reads thousands of runs in one process, and a plan may list thousands of files.
MOST_KNOWN = 32
FILES: dict[type, str] = {
    Plan: PLAN,
    CheckReport: "check.json",
    ScoredBatch: "scored.json",
    DriftReport: "drift.json",
    Refusal: "refusal.json",
    Manifest: MANIFEST,
}


# An attempt's records that the run's folder shows beside its plan and its page.
SHOWN = (*(name for kind, name in FILES.items() if kind not in (Plan, Manifest)), OUTPUT)


class RunEntry(NamedTuple):
    """A run with at least one record.

    Attributes:
        key: the key of its folder.
        attempts: the names of its attempts.
        modified: when its newest file was written, in seconds since the epoch.
        published: when its manifest was written; None if it has none.
    """

    key: str
    attempts: tuple[str, ...]
    modified: float
    published: float | None

    @property
    def run_id(self) -> str:
        return self.key.rpartition("/")[2]


class RunRecords:
    """The records of a table's runs, by their folder's key: `run_key`, `attempt_key`, or "" for the root.

    Records are cached by content: text that this object wrote or parsed before is not parsed again. The text
    itself is always read, because other processes write here too.

    Args:
        storage: the control folder.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._known: OrderedDict[tuple[type, bytes], Any] = OrderedDict()

    def read(self, folder: str, kind: type[T]) -> T:
        """Reads a folder's record of a type.

        Raises:
            RequestError: the folder has no such record, because the run did not get that far.
        """
        found = self.find(folder, kind)
        if found is None:
            problem = Problem(FILES[kind], "is not there; the run did not get that far")
            raise RequestError(self._shown(folder), (problem,))
        return found

    def find(self, folder: str, kind: type[T]) -> T | None:
        """Reads a folder's record of a type, or returns None if it has none."""
        key = _key(folder, FILES[kind])
        stored = self._storage.read(key)
        return None if stored is None else self.parse(kind, stored.content, where=self._shown(key))

    def parse(self, kind: type[T], content: bytes, *, where: str) -> T:
        """Parses a record, or returns the cached one for the same content."""
        known = (kind, hashlib.sha256(content).digest())
        if known not in self._known:
            self._keep(known, from_json(kind, content, where=where))
        self._known.move_to_end(known)
        record: T = self._known[known]
        return record

    def write(self, folder: str, record: T) -> T:
        """Writes a record to a folder atomically and returns it."""
        content = self._write(_key(folder, FILES[type(record)]), to_json(record))
        self._keep((type(record), hashlib.sha256(content).digest()), record)
        return record

    def write_refusal(self, folder: str, error: BatchdeployError) -> None:
        """Writes a gate's refusal to a folder."""
        problems = tuple(map(str, error.problems))
        gate = type(error).__name__
        self.write(folder, Refusal(gate=gate, where=error.where, problems=problems, hint=error.hint))

    def through(self, storage: Storage) -> RunRecords:
        """These records, written through another storage of the same folder, as one that survives more.

        What either of the two has in hand the other has, too.
        """
        other = RunRecords(storage)
        other._known = self._known
        return other

    def has(self, folder: str, kind: type) -> bool:
        """Whether a folder has a record of a kind."""
        return self._storage.read(_key(folder, FILES[kind])) is not None

    def find_text(self, folder: str, kind: type) -> str | None:
        """The text of a record, or None."""
        stored = self._storage.read(_key(folder, FILES[kind]))
        return None if stored is None else stored.content.decode()

    def write_text(self, folder: str, kind: type, text: str) -> None:
        """Writes a record that was made into text before, whole or not at all."""
        store(self._storage, _key(folder, FILES[kind]), text.encode())

    def find_attempt(self, folder: str, kind: type[Plan] | type[Manifest]) -> str | None:
        """The attempt whose plan or manifest a folder has; None where it has none that can be read.

        A record of another version of this package tells its attempt, too.
        """
        try:
            stored = self._storage.read(_key(folder, FILES[kind]))
            if stored is None:
                return None
            known = self._known.get((kind, hashlib.sha256(stored.content).digest()))
            return str(json.loads(stored.content)["attempt"] if known is None else known.attempt)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def show(self, attempt: str, run: str) -> None:
        """Copies an attempt's records to the run's folder, and removes others but the manifest from there.

        Args:
            attempt: the attempt's key.
            run: the run's key.
        """
        copy(self._storage, _key(attempt, PLAN), _key(run, PLAN))
        self.show_again(attempt, run)

    def show_again(self, attempt: str, run: str) -> None:
        """Copies an attempt's records except its plan, as `show`."""
        found, shown = names_below(self._storage, attempt), names_below(self._storage, run)
        for name in SHOWN:
            if name in found:
                copy(self._storage, found[name], _key(run, name))
            elif name in shown:
                self._storage.delete(shown[name])
        # NOTE: a page with a second name is served to nobody.
        page = self._storage.read(found[PAGE]) if PAGE in found else None
        if page is not None:
            store(self._storage, _key(run, PAGE), page.content)
        elif PAGE in shown:
            self._storage.delete(shown[PAGE])

    def write_page(self, folder: str, html: str) -> None:
        """Writes a folder's report page atomically."""
        self._write(_key(folder, PAGE), html)

    def write_output(self, folder: str, text: str) -> None:
        """Writes what the model printed, whole or not at all."""
        store(self._storage, _key(folder, OUTPUT), text.encode())

    def has_page(self, folder: str) -> bool:
        """Whether a folder has a complete report page; a full disk may have truncated it."""
        try:
            with self._storage.open_input(_key(folder, PAGE)) as page:
                page.seek(max(0, page.seek(0, SEEK_END) - TAIL))
                return page.read().rstrip().endswith(PAGE_END)
        except OSError:
            return False

    def find_page(self, folder: str) -> str | None:
        """A folder's page, or None."""
        stored = self._storage.read(_key(folder, PAGE))
        return None if stored is None else stored.content.decode("utf-8", "replace")

    def find_output(self, folder: str) -> str:
        """The model's printed output in a run, empty if there is none."""
        stored = self._storage.read(_key(folder, OUTPUT))
        text = "" if stored is None else stored.content.decode("utf-8", "replace")
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def runs(self, folder: str | None = None) -> tuple[RunEntry, ...]:
        """The runs of a partition's folder (``date=2013-02-01``), or of all partitions, oldest first."""
        found: dict[str, list[tuple[str, float]]] = {}
        for entry in self._storage.list(RUNS if folder is None else f"{RUNS}/{folder}"):
            parts = entry.key.split("/", 3)
            if len(parts) == 4:
                found.setdefault("/".join(parts[:3]), []).append((parts[3], entry.modified))
        entries = [_run_entry(key, files) for key, files in found.items()]
        return tuple(sorted(entries, key=lambda entry: (entry.modified, entry.key)))

    def lookup(self, beginning: str) -> tuple[str, ...]:
        """The keys of all runs and attempts with this prefix in their name, sorted."""
        found = []
        for entry in self.runs():
            names = {entry.key: entry.run_id} | {f"{entry.key}/{ATTEMPTS}/{a}": a for a in entry.attempts}
            found += [key for key, name in names.items() if name.startswith(beginning)]
        return tuple(sorted(found))

    def verify(self, folder: str) -> tuple[Problem, ...]:
        """The problems of a folder's records; empty if they parse and belong to one run and one plan."""
        return tuple(self._wrong(folder))

    def file_problems(
        self, folder: str, files: Iterable[OutputFile], *, content: bool
    ) -> tuple[Problem, ...]:
        """How the files in a folder differ from what a run recorded of them; empty where none does.

        Args:
            folder: their key.
            files: what was recorded; their paths are relative to the folder.
            content: reads them and compares their SHA-256; else only their sizes are compared.
        """
        return file_problems(
            self._storage, {_key(folder, file.path): file for file in files}, content=content
        )

    def _wrong(self, folder: str) -> Iterator[Problem]:
        run_id, plan_sha256 = None, None
        for kind, name in FILES.items():
            stored = self._storage.read(_key(folder, name))
            if stored is None:
                if kind is Plan:
                    yield Problem(name, "is not there")
                continue
            if kind is Plan:
                plan_sha256 = hashlib.sha256(stored.content).hexdigest()
            try:
                record: Any = self.parse(kind, stored.content, where=name)
            except DataError as error:
                yield from (Problem(f"{name}: {p.path}", p.problem, p.got) for p in error.problems)
                continue
            run_id = run_id or getattr(record, "run_id", None)
            if getattr(record, "run_id", run_id) != run_id:
                yield Problem(name, f"is of another run than {run_id}", record.run_id)
            if isinstance(record, Manifest) and plan_sha256 not in (None, record.plan_sha256):
                yield Problem(name, f"was written for another plan than {PLAN}", record.plan_sha256)

    def _write(self, key: str, text: str) -> bytes:
        with translate_system_errors(self._shown(key)):
            content = text.encode()
            store(self._storage, key, content)
        return content

    def _keep(self, known: tuple[type, bytes], record: object) -> None:
        self._known[known] = record
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

    def _shown(self, key: str) -> str:
        return f"{self._storage.target}/{key}" if key else self._storage.target


def _key(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _run_entry(key: str, files: list[tuple[str, float]]) -> RunEntry:
    attempts = sorted({name.split("/")[1] for name, _ in files if name.startswith(f"{ATTEMPTS}/")})
    return RunEntry(
        key=key,
        attempts=tuple(attempts),
        modified=max(modified for _, modified in files),
        published=next((modified for name, modified in files if name == MANIFEST), None),
    )
