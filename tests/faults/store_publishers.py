"""Publishers to a table in a store, each a process of its own: the real one, and others known to be bad."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from batchdeploy.errors import PublishError, StaleRunError
from batchdeploy.storage import failpoints
from faults.publishing import FILES, parquet, publish, rows_of, run_name
from faults.store_oracle import open_bucket, pointer
from faults.store_places import Place

FOLDERS = ("date=2024-01-01", "date=2024-01-02")
DAYS = 86_400.0
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a publisher does.

    Attributes:
        place: the table.
        home: a folder of its machine.
        doing: one of `DOING`.
        seed: of its choices, and of its run ids.
        steps: how many.
        point: kills itself when it has come to this failpoint so many times.
        way: ``real``, or what is wrong with the publisher; see `Simple`.
    """

    place: Place
    home: Path
    doing: str = "operate"
    seed: int = 0
    steps: int = 4
    point: tuple[str, int] | None = None
    way: str = "real"


def operate(work: Work, tell: Tell) -> None:
    """Publishes, publishes again, rolls back and collects garbage, at random."""
    access, random_ = work.place.open(work.home), random.Random(work.seed)
    for step in range(work.steps):
        folder, choice = random_.choice(FOLDERS), random_.random()
        base_run = access.table.published_run(folder)
        try:
            if choice < 0.75 or base_run is None:
                again = base_run is not None and choice < 0.1
                run = base_run if again and base_run else run_name(work.seed * 1000 + step)
                tell(f"begin {folder} {run}")
                publish(access, folder, run, base_run)
                tell(f"done {folder} {run}")
            elif choice < 0.9 and (kept := access.table.generations(folder)) and kept[0] != base_run:
                tell(f"begin {folder} {kept[0]}")
                at = f"{work.seed}.{step}"
                access.publisher.roll_back(folder, to=kept[0], expected_run=base_run, at=at)
                tell(f"done {folder} {kept[0]}")
            else:
                access.maintenance.collect_garbage(now=time.time())
        except StaleRunError:
            tell("stale")


def script(work: Work, tell: Tell) -> None:
    """Publishes twice, rolls back and collects garbage: every kind of change, in the same order each time."""
    access, folder = work.place.open(work.home), FOLDERS[0]
    base_run = access.table.published_run(folder)
    for step in range(2):
        run = run_name(work.seed * 1000 + step)
        tell(f"begin {folder} {run}")
        publish(access, folder, run, base_run)
        tell(f"done {folder} {run}")
        base_run = run
    back = access.table.generations(folder)[0]
    tell(f"begin {folder} {back}")
    access.publisher.roll_back(folder, to=back, expected_run=base_run, at=str(work.seed))
    tell(f"done {folder} {back}")
    access.maintenance.collect_garbage(now=time.time())


def recover(work: Work, _tell: Tell) -> None:
    """Recovers, on a machine that knows only where the table is."""
    work.place.open(work.home).maintenance.recover(now=time.time())


def collect(work: Work, _tell: Tell) -> None:
    """Collects garbage as if days had passed."""
    work.place.open(work.home).maintenance.collect_garbage(now=time.time() + 10 * DAYS)


def simply(work: Work, tell: Tell) -> None:
    """Publishes by `Simple`."""
    publisher, random_ = Simple(work.place, work.way), random.Random(work.seed)
    for step in range(work.steps):
        folder, run = random_.choice(FOLDERS), run_name(work.seed * 1000 + step)
        tell(f"begin {folder} {run}")
        try:
            base_run = publisher.publish(folder, run)
        except Overtaken:
            tell("stale")
        else:
            tell(f"done {folder} {run} {base_run}")


def commit(work: Work, tell: Tell) -> None:
    """Publishes until so many publishes went through, whatever the store answers."""
    access, random_ = work.place.open(work.home), random.Random(work.seed)
    done = step = 0
    while done < work.steps:
        step += 1
        folder, run = random_.choice(FOLDERS), run_name(work.seed * 100_000 + step)
        try:
            base_run = access.table.published_run(folder)
            publish(access, folder, run, base_run)
            tell(f"done {folder} {run} {base_run}")
            done += 1
        except StaleRunError:
            tell("stale")
        except PublishError as error:
            tell(f"refused {error.problems[0].problem}")


DOING = {one.__name__: one for one in (operate, script, recover, collect, simply, commit)}


class Overtaken(Exception):
    """Another run was published since this one began."""


class Simple:
    """A publisher by pointer in thirty lines, with one thing wrong or none (``good``).

    Args:
        place: the table.
        way: ``pointer first``: the files after the pointer that names them. ``fixed names``: over the files
            of the run before. ``no comparison``: the pointer whatever it is by now. ``no fence``: also a run
            that was overtaken. ``blind retry``: again after a lost answer, without a look.
    """

    def __init__(self, place: Place, way: str) -> None:
        self._store = open_bucket(place.uri, str(place.storage.endpoint))
        self._table, self._way = place.table, way

    def publish(self, folder: str, run: str) -> str | None:
        """Publishes a run over the one that is there, whose id it returns."""
        prefix = f"data/{folder}/run={'fixed' if self._way == 'fixed names' else run}"
        rows, half = rows_of(folder, run), len(rows_of(folder, run)) // FILES
        parts = [parquet(rows.slice(n * half, half if n < FILES - 1 else None)) for n in range(FILES)]
        files = {f"{prefix}/part-{number}.parquet": part for number, part in enumerate(parts)}
        listed = [{"path": name, "sha256": hashlib.sha256(part).hexdigest()} for name, part in files.items()]
        short = [{"path": one["path"].rpartition("/")[2], "sha256": one["sha256"]} for one in listed]
        manifest = f"manifests/{folder}/{run}.json"
        entry = {"run_id": run, "files": listed, "manifest": manifest, "earlier": []}
        everything = {**files, manifest: json.dumps({"files": short}).encode()}
        seen = pointer(self._store, self._table)["partitions"].get(folder)
        base_run = None if seen is None else str(seen["run_id"])
        if self._way == "pointer first":
            self._commit(folder, entry, base_run)
        for name, content in everything.items():
            self._put(name, content)
        if self._way != "pointer first":
            self._commit(folder, entry, base_run)
        return base_run

    def _put(self, name: str, content: bytes, mode: Any = "overwrite") -> None:
        obstore.put(self._store, f"{self._table}/{name}", content, mode=mode, use_multipart=False)

    def _commit(self, folder: str, entry: dict[str, Any], base_run: str | None) -> None:
        while True:
            try:
                self._try_commit(folder, entry, base_run)
            except (PreconditionError, AlreadyExistsError):
                continue
            except BaseError:
                shown = None if self._way == "blind retry" else self._shown(folder)
                if shown == entry["run_id"]:
                    return
            else:
                return

    def _try_commit(self, folder: str, entry: dict[str, Any], base_run: str | None) -> None:
        try:
            meta = obstore.head(self._store, f"{self._table}/current.json")
            mode: Any = {"e_tag": meta["e_tag"]}
        except FileNotFoundError:
            mode = "create"
        document = pointer(self._store, self._table)
        shown = document["partitions"].get(folder, {}).get("run_id")
        if shown == entry["run_id"] and self._way != "blind retry":
            return
        if shown != base_run and self._way not in ("no fence", "blind retry"):
            raise Overtaken(folder)
        document["partitions"][folder] = entry
        document["version"] += 1
        mode = "overwrite" if self._way == "no comparison" else mode
        self._put("current.json", json.dumps(document).encode(), mode)

    def _shown(self, folder: str) -> str | None:
        found = pointer(self._store, self._table)["partitions"].get(folder)
        return None if found is None else str(found["run_id"])


def main(work: Work, told: Connection) -> None:
    """The process: waits until it may begin, does its work, and tells about it."""
    told.recv()
    hits: Counter[str] = Counter()

    def hit(name: str) -> None:
        hits[name] += 1
        if work.point == (name, hits[name]):
            os.kill(os.getpid(), signal.SIGKILL)

    failpoints.hook = hit
    DOING[work.doing](work, told.send)
    told.send(f"reached {json.dumps(hits)}")


@dataclass(slots=True)
class Publisher:
    """A publisher's process, which waits until `go`."""

    process: Any
    told: Connection

    def go(self) -> None:
        """Lets it begin."""
        self.told.send("go")

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def ended(self) -> tuple[int, list[str]]:
        """Waits for its end; its exit code (negative: the signal) and what it told."""
        lines = []
        try:
            while True:
                lines.append(str(self.told.recv()))
        except EOFError:
            pass
        self.process.join()
        self.told.close()
        return int(self.process.exitcode), lines


def start(work: Work) -> Publisher:
    """A publisher's process, from a server that has everything imported and no store open."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(target=main, args=(work, theirs), daemon=True)
    process.start()
    theirs.close()
    return Publisher(process, ours)


@contextmanager
def prepared() -> Iterator[None]:
    """Starts the server of processes; without, each process would import everything itself."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([entry for entry in sys.path if entry])
    try:
        ensure_running()
        yield
    finally:
        if before is None:
            os.environ.pop("PYTHONPATH")
        else:
            os.environ["PYTHONPATH"] = before
