"""The long trials, by number; each returns its counts and violations. Tests call them with small numbers.

`make faults` runs them all and writes tests/faults/results.json; docs/reliability.md shows the figures.
"""

from __future__ import annotations

import itertools
import random
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from batchdeploy.errors import PublishError, StaleRunError
from batchdeploy.storage import failpoints
from faults.killing import finished, in_child, killed_after, killed_at
from faults.oracle import Content, published_run, violations
from faults.publishing import expected, manifest, plan, publish, run_name, stage, swap_table

FOLDERS = tuple(f"date=2024-01-{day:02d}" for day in range(1, 4))
FRESH_TABLE_EVERY = 50
LONGEST_OPERATION = 0.03
# How many times as many trials as were asked for, at most, until chance has done enough.
PATIENCE = 20
NOTHING_ASKED: Mapping[str, int] = {}


class Known(dict[tuple[str, str], Content]):
    """What every run's rows are; worked out when it is first asked."""

    def __missing__(self, key: tuple[str, str]) -> Content:
        self[key] = expected(*key)
        return self[key]

    def get(self, key: tuple[str, str], default: Any = None) -> Any:  # type: ignore[override]
        return self[key]


def lacks(counts: Mapping[str, int], enough: Mapping[str, int]) -> bool:
    """Whether an event has not happened often enough."""
    return any(counts.get(what, 0) < least for what, least in enough.items())


def repeated(trial: Callable[[int], dict[str, Any]], *, enough: Mapping[str, int]) -> dict[str, Any]:
    """Repeats a trial, at most `PATIENCE` times, until every event was frequent enough; adds up the counts.

    Args:
        trial: the number of the trial to its counts and ``violations``.
        enough: the required number of each event; ``violations`` are counted, too.
    """
    counts, found = Counter[str](), []
    for number in range(PATIENCE):
        result = trial(number)
        found += result["violations"]
        counts.update({what: n for what, n in result.items() if isinstance(n, int) and what != "seed"})
        counts["faults"] += sum(result.get("faults", {}).values())
        if not lacks(counts | {"violations": len(found)}, enough):
            break
    return {**counts, "violations": found}


def random_kills(
    root: Path, *, trials: int, seed: int, enough: Mapping[str, int] = NOTHING_ASKED
) -> dict[str, Any]:
    """Processes that publish, roll back and collect garbage, killed at random moments; then recovery.

    What a process said it had published must be there; what it had not begun must not. One recovery in
    four is killed as well. It goes on after ``trials``, to `PATIENCE` times as many, until ``enough`` has
    happened.
    """
    random_ = random.Random(seed)
    known, found, counts = Known(), [], Counter[str]()
    last: dict[str, str | None] = {}
    for trial in itertools.count():
        if trial >= trials and (trial >= PATIENCE * trials or not lacks(counts, enough)):
            break
        if trial % FRESH_TABLE_EVERY == 0:
            shutil.rmtree(root, ignore_errors=True)
            shutil.rmtree(root.with_name(root.name + ".batchdeploy"), ignore_errors=True)
            last = dict.fromkeys(FOLDERS)
        durability = "power" if random_.random() < 0.2 else "process"
        work = _operations(root, random.Random(random_.random()), durability, trial)
        killed, lines = killed_after(random_.random() * LONGEST_OPERATION * 3, work)
        counts["killed"] += killed
        if random_.random() < 0.25:
            cut, _ = killed_after(random_.random() * LONGEST_OPERATION / 3, _recovering(root))
            counts["recoveries killed"] += cut
        before = [v for v in violations(root, known, settled=False) if v != "the lock is held"]
        swap_table(root, keep=1).maintenance.recover(now=time.time())
        wrong = before + violations(root, known) + _promises(root, lines, last, counts)
        found += [f"trial {trial}: {violation}" for violation in wrong]
        last = {folder: published_run(root, folder) for folder in FOLDERS}
    return {"trials": trial, "seed": seed, **counts, "violations": found}


def _operations(
    root: Path, random_: random.Random, durability: str, trial: int
) -> Callable[[Callable[[str], None]], None]:
    def work(tell: Callable[[str], None]) -> None:
        table = swap_table(root, durability=durability, keep=1)
        tell("ready")
        for step in range(40):
            folder = random_.choice(FOLDERS)
            base_run = published_run(root, folder)
            choice = random_.random()
            if choice < 0.75 or base_run is None:
                again = base_run is not None and choice < 0.1
                run = base_run if again and base_run else run_name(trial * 1000 + step)
                tell(f"begin {folder} {run}")
                publish(table, folder, run, base_run)
                tell(f"done {folder} {run}")
            elif choice < 0.9 and (kept := table.table.generations(folder)) and kept[0] != base_run:
                tell(f"begin {folder} {kept[0]}")
                table.publisher.roll_back(folder, to=kept[0], expected_run=base_run, at=f"{trial}.{step}")
                tell(f"done {folder} {kept[0]}")
            else:
                table.maintenance.collect_garbage(now=time.time())

    return work


def _recovering(root: Path) -> Callable[[Callable[[str], None]], None]:
    def work(tell: Callable[[str], None]) -> None:
        tell("ready")
        swap_table(root, keep=1).maintenance.recover(now=time.time())

    return work


def _promises(root: Path, lines: list[str], last: dict[str, str | None], counts: Counter[str]) -> list[str]:
    """Checks a process's reports: what it completed is published, and what it never began is not."""
    may = {folder: {run} for folder, run in last.items()}
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "done":
            folder, run = rest.split()
            may[folder] = {run}
            counts["published"] += 1
        elif word == "begin":
            folder, run = rest.split()
            may[folder].add(run)
    return [
        f"{folder} shows {published_run(root, folder)}, not one of {sorted(map(str, runs))}"
        for folder, runs in may.items()
        if published_run(root, folder) not in runs
    ]


def racing_publishers(
    root: Path, *, publishers: int, publishes: int, seed: int, table: Callable[[Path], Any] = swap_table
) -> dict[str, Any]:
    """Many processes publish one partition; a run that was overtaken must get an error.

    Every publish names the run it replaces; two that replaced the same one have lost an update.
    """
    folder, known = FOLDERS[0], Known()
    children = []
    for number in range(publishers):
        children.append(in_child(_racer(root, folder, (number, publishes, seed), table)))
    replaced, counts, found = Counter[str](), Counter[str](), []
    for pid, reader in children:
        code, lines = finished(pid, reader)
        if code != 0:
            found.append(f"a publisher ended with {code}")
        for line in lines:
            word, *rest = line.split()
            counts[word] += 1
            if word == "published":
                replaced[rest[1]] += 1
    found += [f"{n} publishers replaced the run {run}" for run, n in replaced.items() if n > 1]
    found += violations(root, known)
    return {"publishers": publishers, "attempts": publishers * publishes, "seed": seed, **counts} | {
        "violations": found
    }


def _racer(
    root: Path, folder: str, who: tuple[int, int, int], make: Callable[[Path], Any]
) -> Callable[[Callable[[str], None]], None]:
    number, publishes, seed = who

    def work(tell: Callable[[str], None]) -> None:
        random_ = random.Random(f"{seed} {number}")
        table = make(root)
        for step in range(publishes):
            base_run = published_run(root, folder)
            run = run_name(number * 1000 + step)
            time.sleep(random_.random() * 0.002)
            try:
                publish(table, folder, run, base_run)
                tell(f"published {run} {base_run}")
            except StaleRunError:
                tell("stale")
            except PublishError as error:
                tell(f"refused {error.problems[0].problem}")

    return work


def lock_times(root: Path, *, partitions: int) -> dict[str, Any]:
    """Measures, in milliseconds, how long each of many publishes holds the lock, and recovery takes."""
    table = swap_table(root, durability="power")
    held: list[float] = []
    began = 0.0

    def listen(point: str) -> None:
        nonlocal began
        if point == "table locked":
            began = time.perf_counter()
        elif point == "table unlocked":
            held.append((time.perf_counter() - began) * 1000)

    failpoints.hook = listen
    try:
        for number in range(partitions):
            publish(table, f"date={number}", run_name(1), None)
    finally:
        failpoints.hook = None
    idle = _recovery(root)
    dead = [f"date={number}" for number in range(min(20, partitions))]
    for folder in dead:
        scored = stage(table, folder, run_name(2))
        table.staging.hand_over(scored.attempt)
        assert killed_at(
            "intent written",
            lambda folder=folder, scored=scored: swap_table(root).publisher.publish(  # type: ignore[misc]
                plan(folder, run_name(2), run_name(1)), scored, lambda: manifest(run_name(2), scored, "1")
            ),
        )
        # The next trial would complete this intent, so it is moved away until all have died.
        kept = next((root.with_name(root.name + ".batchdeploy") / "intents").glob("*.json"))
        kept.rename(root.parent / kept.name)
    for file in root.parent.glob("*.json"):
        file.rename(root.with_name(root.name + ".batchdeploy") / "intents" / file.name)
    after_kills = _recovery(root)
    assert all(published_run(root, folder) == run_name(2) for folder in dead)
    ordered = sorted(held)
    return {
        "partitions": partitions,
        "locks": len(held),
        "lock_ms_median": round(statistics.median(ordered), 2),
        "lock_ms_p99": round(ordered[int(0.99 * len(ordered))], 2),
        "lock_ms_most": round(ordered[-1], 2),
        "recovery_ms_with_nothing_to_do": round(idle, 2),
        "recovery_ms_of_20_killed_runs": round(after_kills, 2),
    }


def _recovery(root: Path) -> float:
    start = time.perf_counter()
    swap_table(root).maintenance.recover(now=time.time())
    return (time.perf_counter() - start) * 1000


def preflight_times(home: Path, *, files: int) -> dict[str, Any]:
    """Measures the time to read every footer of a partition before any task, in microseconds per file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from batchdeploy.adapters.parquet_splits import inspect
    from batchdeploy.adapters.sources.folder import FolderSource
    from batchdeploy.core.deployment import DataRef, PartitionSpec

    folder = home / "data" / "date=2024-01-01"
    folder.mkdir(parents=True)
    columns = {f"x{number}": [0.5] * 100 for number in range(20)}
    for number in range(files):
        table = pa.table({"id": range(number * 100, number * 100 + 100), **columns})
        pq.write_table(table, folder / f"part-{number:05d}.parquet")
    data = DataRef(path="data", keys=("id",), partition=PartitionSpec(column="date"))
    start = time.perf_counter()
    pin = FolderSource(home).pin(data, "2024-01-01")
    pinned = time.perf_counter()
    found = inspect(pin)
    seconds = time.perf_counter() - pinned
    assert sum(found.file_rows) == files * 100
    return {
        "files": files,
        "columns": 21,
        "footers_us_a_file": round(seconds / files * 1e6),
        "hashes_us_a_file": round((pinned - start) / files * 1e6),
    }
