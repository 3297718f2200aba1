"""Kills of publishers to a table in a store: at named points, at their requests, at random moments."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from faults.campaign import Known
from faults.store_faults import Gate, gate
from faults.store_oracle import open_bucket, published_run, violations
from faults.store_places import Place
from faults.store_publishers import FOLDERS, Publisher, Work, prepared, start

FRESH_TABLE_EVERY = 20
LONGEST_SECONDS = 2.0
# How a publisher dies, and how often.
HOW = {"moment": 4, "before a request": 3, "after a request": 3, "point": 3}
KILLED = -9


class Trials:
    """Publishers of one table, and the oracle's judgement.

    Args:
        home: a folder for what the publishers' machines hold.
        place: the table.
        through: the proxy before its server.
        known: the rows of every run.
    """

    def __init__(self, home: Path, place: Place, through: Gate, known: Known) -> None:
        self.place, self.known = place, known
        self._home, self._gate = home, through
        self._store = open_bucket(place.uri, str(place.storage.endpoint))
        self._machines = 0

    def work(self, **words: Any) -> Work:
        """Something for a publisher to do, on a machine of its own."""
        self._machines += 1
        home = self._home / self.place.table / str(self._machines)
        return Work(place=self.place.through(self._gate.port), home=home, **words)

    def undisturbed(self, work: Work) -> list[str]:
        """Does some work that has to succeed; what was told."""
        self._gate.arm()
        child = start(work)
        child.go()
        code, lines = child.ended()
        assert code == 0, f"{work} ended with {code}: {lines}"
        return lines

    def measured(self, work: Work) -> tuple[int, dict[str, int]]:
        """How many changes undisturbed work asks the store for, and the failpoints that it comes to."""
        lines = self.undisturbed(work)
        return self._gate.changes, json.loads(lines[-1].partition(" ")[2])

    def killed_at_request(self, work: Work, number: int, *, after: bool) -> tuple[bool, list[str]]:
        """Kills a publisher at its n-th change; whether it came to that, and what it told."""
        child = start(work)
        self._gate.arm(child.process.pid, number, "after" if after else "before")
        child.go()
        return self._end([child])

    def killed_at_point(self, work: Work) -> tuple[bool, list[str]]:
        """Has a publisher kill itself at its failpoint; whether it came there, and what it told."""
        self._gate.arm()
        child = start(work)
        child.go()
        return self._end([child])

    def killed_after(self, seconds: float, works: Sequence[Work]) -> tuple[bool, list[str]]:
        """Kills the first publisher after so long; the others may finish."""
        self._gate.arm()
        children = [start(work) for work in works]
        for child in children:
            child.go()
        time.sleep(seconds)
        children[0].kill()
        return self._end(children)

    def _end(self, children: Sequence[Publisher]) -> tuple[bool, list[str]]:
        ends = [child.ended() for child in children]
        self._gate.wait()
        for code, lines in ends:
            assert code in (0, KILLED), f"a publisher ended with {code}: {lines}"
        return ends[0][0] == KILLED, [line for _, lines in ends for line in lines]

    def shown(self) -> dict[str, str | None]:
        """The run that each partition shows."""
        return {folder: published_run(self._store, self.place.table, folder) for folder in FOLDERS}

    def judged(self, **words: bool) -> list[str]:
        """The oracle's violations; of runs whose records may be missing, where a publisher was killed."""
        return violations(self._store, self.place.table, self.known, **words)

    def broken_promises(
        self, lines: Sequence[str], before: dict[str, str | None], *, alone: bool
    ) -> list[str]:
        """Checks what publishers told: what was completed is shown, and what never began is not."""
        may = {folder: {run} for folder, run in before.items()}
        for line in lines:
            word, *rest = line.split()
            if word in ("begin", "done"):
                folder, run = rest[:2]
                # Of two publishers nobody knows who was the last.
                may[folder] = {run} if word == "done" and alone else may[folder] | {run}
        return [
            f"{folder} shows {run}, not one of {sorted(map(str, may[folder]))}"
            for folder, run in self.shown().items()
            if run not in may[folder]
        ]


def store_kills(home: Path, place: Place, *, kills: int, seed: int) -> dict[str, Any]:
    """Kills so many publishers; after each the oracle looks, and another machine recovers.

    What a process said it had published must be there; what it had not begun must not. Some have a second
    publisher beside them, and one recovery in four is killed as well.
    """
    random_, counts, found = random.Random(seed), Counter[str](), list[str]()
    with prepared(), gate(place.port, compares=place.compares) as through:
        trials, trial, last = Trials(home, place, through, Known()), 0, dict[str, str | None]()
        while counts["killed"] < kills:
            if trial % FRESH_TABLE_EVERY == 0:
                found += _finished(trials, counts) if trial else []
                table = f"{place.table}-{seed}-{trial}"
                trials = Trials(home, replace(place, table=table), through, trials.known)
                last = dict.fromkeys(FOLDERS)
                changes, points = trials.measured(trials.work(doing="operate", seed=seed + trial))
                last = trials.shown()
            trial += 1
            how = random_.choices([*HOW], [*HOW.values()])[0]
            killed, lines, alone = _kill(trials, how, (random_, seed + trial), (changes, points))
            counts[f"killed: {how}"] += killed
            counts["killed"] += killed
            counts["published"] += sum(line.startswith("done") for line in lines)
            if random_.random() < 0.25:
                again = trials.work(doing="recover")
                cut, _ = trials.killed_at_request(again, random_.randint(1, 5), after=random_.random() < 0.5)
                counts["recoveries killed"] += cut
            wrong = trials.judged(settled=False)
            trials.undisturbed(trials.work(doing="recover"))
            wrong += trials.judged() + trials.broken_promises(lines, last, alone=alone)
            found += [f"trial {trial}, {how}: {violation}" for violation in wrong]
            last = trials.shown()
        found += _finished(trials, counts)
    return {"trials": trial, "seed": seed, **counts, "violations": found}


def _kill(
    trials: Trials, how: str, chance: tuple[random.Random, int], most: tuple[int, dict[str, int]]
) -> tuple[bool, list[str], bool]:
    """One publisher that is killed; whether it was, what was told, and whether it was alone."""
    random_, seed = chance
    changes, points = most
    work = trials.work(doing="operate", seed=seed)
    if how == "moment":
        second = [trials.work(doing="operate", seed=seed + 500_000, steps=4)] * (random_.random() < 0.5)
        return *trials.killed_after(random_.random() * LONGEST_SECONDS, [work, *second]), not second
    if how == "point":
        name = random_.choice(sorted(points))
        work = replace(work, point=(name, random_.randint(1, points[name])))
        return *trials.killed_at_point(work), True
    number = random_.randint(1, changes)
    return *trials.killed_at_request(work, number, after=how.startswith("after")), True


def _finished(trials: Trials, counts: Counter[str]) -> Iterator[str]:
    """The last look at a table: after garbage collection nothing is left over, and a plain run succeeds."""
    trials.undisturbed(trials.work(doing="collect"))
    yield from trials.judged(collected=True)
    trials.undisturbed(trials.work(doing="operate", seed=counts["killed"] + 9_000_000, steps=3))
    yield from trials.judged()
    counts["tables"] += 1


def killed_at_every_request(
    trials: Trials, work: Callable[[int], Work], *, every: int = 1, records: bool = True
) -> tuple[int, list[str]]:
    """Kills one publisher after another at each change that the work asks the store for, before and after it.

    Args:
        trials: of the table.
        work: the work with a seed of its own for each.
        every: leaves out all kills but each n-th.
        records: whether another machine recovers after each, and the records are looked at as well.

    Returns:
        How many were killed, and the violations.
    """
    changes, _ = trials.measured(work(0))
    killed, found = 0, list[str]()
    for moment in range(2, 2 * changes + 2, every):
        number, after = divmod(moment, 2)
        before = trials.shown()
        fired, lines = trials.killed_at_request(work(moment), number, after=bool(after))
        killed += fired
        wrong = trials.judged(settled=False)
        if records:
            trials.undisturbed(trials.work(doing="recover"))
            wrong += trials.judged() + trials.broken_promises(lines, before, alone=True)
        where = f"{'after' if after else 'before'} request {number}"
        found += [f"{where}: {violation}" for violation in wrong]
    return killed, found


def request_kills(home: Path, place: Place, *, every: int, seed: int) -> dict[str, Any]:
    """Kills at every change that publishing twice, rolling back and collecting garbage ask the store for."""
    with prepared(), gate(place.port, compares=place.compares) as through:
        trials = Trials(home, replace(place, table=f"{place.table}-requests"), through, Known())
        killed, found = killed_at_every_request(
            trials, lambda number: trials.work(doing="script", seed=seed + number), every=every
        )
        trials.undisturbed(trials.work(doing="collect"))
        found += trials.judged(collected=True)
    return {"killed": killed, "seed": seed, "violations": found}
