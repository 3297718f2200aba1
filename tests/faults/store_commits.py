"""Commits to a table in a store, through a proxy that spoils answers: none may be lost, doubled or mixed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from faults.campaign import Known
from faults.store_faults import faulty
from faults.store_oracle import open_bucket, pointer, violations
from faults.store_places import Place
from faults.store_publishers import Work, prepared, start


def store_commits(
    home: Path,
    place: Place,
    *,
    commits: int,
    publishers: int,
    seed: int,
    share: float = 0.15,
    way: str = "real",
) -> dict[str, Any]:
    """Several processes publish two partitions through the proxy until so many commits were told.

    Every commit raises the pointer's version by one and names the run it replaces: were one lost, doubled or
    mixed, the version, the chain of replaced runs, or the rows would not agree with what was told.

    Args:
        home: a folder for what the publishers' machines hold.
        place: the table.
        commits: how many.
        publishers: how many processes.
        seed: of the faults, and of the publishers' choices.
        share: of the requests that are spoilt.
        way: ``real``, or one of the publishers that are known to be bad.
    """
    told: Counter[str] = Counter()
    replaced: Counter[str] = Counter()
    found: list[str] = []
    doing, steps = "commit" if way == "real" else "simply", -(-commits // publishers)
    with (
        prepared(),
        faulty(place.port, share=share, seed=seed, compares=place.compares) as (front, fired),
    ):
        children = []
        for number in range(publishers):
            work = Work(
                place=place.through(front),
                home=home / str(number),
                doing=doing,
                seed=seed + number,
                steps=steps,
                way=way,
            )
            children.append(start(work))
            children[-1].go()
        for child in children:
            code, lines = child.ended()
            found += [f"a publisher ended with {code}"] if code else []
            for line in lines:
                word, *rest = line.split()
                told[word] += word not in ("begin", "reached")
                if word == "done":
                    folder, _run, base_run = rest
                    replaced[f"{base_run} of {folder}"] += 1
    store = open_bucket(place.uri, str(place.storage.endpoint))
    version = pointer(store, place.table)["version"]
    if version != told["done"]:
        found.append(f"version {version} after {told['done']} publishes were told")
    found += [f"{n} runs replaced {what}" for what, n in replaced.items() if n > 1]
    found += violations(store, place.table, Known(), settled=False)
    counts = {"published": told["done"], "stale": told["stale"], "refused": told["refused"]}
    return {"seed": seed, "publishers": publishers, **counts, "faults": dict(fired), "violations": found}
