"""Runs the long trials, one or all, and writes the results: ``python -m faults`` in the folder tests."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
# Commands that the trials start must find the package, too.
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parents[1]), str(HERE.parent)])

Trial = Callable[[Path, int, float], dict[str, Any]]


def random_kills(home: Path, seed: int, scale: float) -> dict[str, Any]:
    from faults import campaign

    return campaign.random_kills(home / "scores", trials=_some(10_000, scale), seed=seed)


def named_points(home: Path, _seed: int, _scale: float) -> dict[str, Any]:
    return _tests("test_points.py", home)


def bad_publishers(home: Path, _seed: int, _scale: float) -> dict[str, Any]:
    return _tests("test_bad_publishers.py", home)


def bad_inputs(home: Path, _seed: int, _scale: float) -> dict[str, Any]:
    return _tests("test_bad_inputs.py", home)


def system_calls(home: Path, _seed: int, scale: float) -> dict[str, Any]:
    from faults.syscalls import SITUATIONS, syscall_faults

    return _together(
        {s: syscall_faults(home / s.replace(" ", "-"), s, every=round(1 / scale)) for s in SITUATIONS}
    )


def racing_publishers(home: Path, seed: int, scale: float) -> dict[str, Any]:
    from faults import campaign

    return campaign.racing_publishers(
        home / "scores", publishers=_some(20, scale), publishes=_some(50, scale), seed=seed
    )


def store_commits(home: Path, seed: int, scale: float) -> dict[str, Any]:
    from faults.store_commits import store_commits

    return _on_stores(
        home,
        lambda here, place: store_commits(here, place, commits=_some(1000, scale), publishers=4, seed=seed),
    )


def store_kills(home: Path, seed: int, scale: float) -> dict[str, Any]:
    from faults.store_kills import store_kills

    return _on_stores(home, lambda here, place: store_kills(here, place, kills=_some(250, scale), seed=seed))


def store_requests(home: Path, seed: int, scale: float) -> dict[str, Any]:
    from faults.store_kills import request_kills

    return _on_stores(
        home, lambda here, place: request_kills(here, place, every=max(1, round(1 / scale)), seed=seed)
    )


def plain_readers(home: Path, _seed: int, scale: float) -> dict[str, Any]:
    from faults.readers import READERS, by_spark, racing_reads

    # NOTE: Spark must come last: the others fork a publisher, which a process with a JVM should not do.
    readers = {**READERS, "Spark": by_spark}
    return _together(
        {
            name: racing_reads(
                home / name / "scores", read, reads=_some(2000, scale), pause=0.2 if name == "Spark" else 0.01
            )
            for name, read in readers.items()
        }
    )


def lock(home: Path, _seed: int, scale: float) -> dict[str, Any]:
    from faults import campaign

    return campaign.lock_times(home / "scores", partitions=_some(1000, scale))


def preflight(home: Path, _seed: int, scale: float) -> dict[str, Any]:
    from faults.campaign import preflight_times

    return preflight_times(home, files=_some(2000, scale))


def spark_drivers(home: Path, seed: int, scale: float) -> dict[str, Any]:
    from faults.spark_kills import driver_kills

    return driver_kills(home / "project", kills=_some(100, scale), seed=seed)


def spark_cluster(home: Path, seed: int, scale: float) -> dict[str, Any]:
    from faults.spark_kills import cluster_kills

    return cluster_kills(home / "project", kills=_some(50, scale), seed=seed)


def soak(home: Path, seed: int, scale: float) -> dict[str, Any]:
    from faults import soak

    return soak.soak(home / "project", minutes=60 * scale, seed=seed)


TRIALS: dict[str, Trial] = {
    trial.__name__.replace("_", "-"): trial
    for trial in (
        lock,
        preflight,
        racing_publishers,
        named_points,
        bad_publishers,
        bad_inputs,
        random_kills,
        system_calls,
        store_commits,
        store_requests,
        store_kills,
        plain_readers,
        spark_drivers,
        spark_cluster,
        soak,
    )
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(TRIALS)))
@click.option("--seed", type=int, default=20261121, show_default=True, help="plays the same trials again")
@click.option("--scale", type=click.FloatRange(0.001, 10), default=1.0, help="fewer trials, or more")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, help="where to write figures")
def main(names: tuple[str, ...], seed: int, scale: float, results: Path) -> None:
    """Runs the trials of NAMES, or all of them; ends with 1 where anything was violated."""
    failed = []
    for name in names or TRIALS:
        home = Path(tempfile.mkdtemp(prefix=f"faults-{name}-"))
        began = time.monotonic()
        result = {"scale": scale, **TRIALS[name](home, seed, scale)}
        result |= {"seconds": round(time.monotonic() - began, 1), "machine": _machine(home)}
        shutil.rmtree(home, ignore_errors=True)
        known = json.loads(results.read_text()) if results.exists() else {}
        results.write_text(json.dumps(known | {name: result}, indent=1) + "\n")
        violated = result.get("violations", [])
        failed += [name] if violated else []
        click.echo(f"{name}: {len(violated)} violations in {result['seconds']:,.0f} s")
        for violation in violated[:10]:
            click.echo(f"    {violation}")
    sys.exit(1 if failed else 0)


def _some(number: int, scale: float) -> int:
    return max(2, round(number * scale))


def _on_stores(home: Path, trial: Callable[[Path, Any], dict[str, Any]]) -> dict[str, Any]:
    """A trial on a server of each kind."""
    from faults.store_places import STORES, new_place

    results = {}
    for kind in STORES:
        folder = home / kind
        folder.mkdir()
        with new_place(kind, folder) as place:
            results[kind] = trial(folder, place)
    return _together(results)


def _together(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Several results, and the violations of all of them."""
    return {**results, "violations": [v for result in results.values() for v in result["violations"]]}


def _tests(name: str, home: Path) -> dict[str, Any]:
    """The tests of a file, counted."""
    import xml.etree.ElementTree as ElementTree

    report = home / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", str(HERE / name), f"--junitxml={report}"]
    subprocess.run([*command, f"--rootdir={HERE.parents[1]}"], check=False, stdout=subprocess.DEVNULL)
    cases = list(ElementTree.parse(report).iter("testcase"))
    bad = [case.get("name") for case in cases if {e.tag for e in case} & {"failure", "error"}]
    skipped = sum(case.find("skipped") is not None for case in cases)
    return {"tests": len(cases), "skipped": skipped, "violations": [f"{name} failed" for name in bad]}


def _machine(home: Path) -> str:
    """The kind of machine and filesystem: figures without them say little."""
    kind = subprocess.run(
        ["stat", "--file-system", "--format=%T", str(home)], check=False, capture_output=True, text=True
    )
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, {kind.stdout.strip()}"


if __name__ == "__main__":
    main()
