"""Measures start-up time, the gain of a backfill over single runs, and scaling with the number of rows.

``python benchmarks/days.py`` writes benchmarks/results/days.json.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from speed import machine
from workloads import DAY, SMALL_DAY, WORKLOADS, make

HERE = Path(__file__).parent
DAYS, DAY_ROWS = [f"2024-02-{day:02d}" for day in range(1, 15)], 20_000


def command(root: Path, engine: str, *words: str) -> float:
    """The seconds of one batchdeploy command in a new process."""
    began = time.perf_counter()
    deployment = root / "dags" / f"{engine}.yaml"
    call = [sys.executable, "-m", "batchdeploy", words[0], str(deployment), *words[1:]]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return time.perf_counter() - began


def unpublish(root: Path, engine: str) -> None:
    """Removes the table and its records, but keeps the fetched model."""
    shutil.rmtree(root / "scores" / engine, ignore_errors=True)
    for name in ("runs", "retired", "drift"):
        shutil.rmtree(root / "scores" / f"{engine}.batchdeploy" / name, ignore_errors=True)


def small(root: Path, rounds: int) -> dict[str, float]:
    """One small day: with a cold start on either engine, and on a warm session."""
    from batchdeploy.assembly import open_toolbox
    from batchdeploy.workflows.run import run

    day = ("--partition", SMALL_DAY, "--force")
    cold = {
        engine: [command(root, engine, "run", *day) for _ in range(rounds)] for engine in ("spark", "local")
    }
    tools = open_toolbox(root / "dags" / "spark.yaml")
    run(tools, SMALL_DAY, repeat=True)
    warm = []
    for _ in range(rounds):
        began = time.perf_counter()
        run(tools, SMALL_DAY, repeat=True)
        warm.append(time.perf_counter() - began)
    tools.close()
    spark, local, warmed = (statistics.median(times) for times in (cold["spark"], cold["local"], warm))
    return {
        "spark_cold": spark,
        "spark_warm": warmed,
        "local_cold": local,
        "warm_share_of_cold": warmed / spark,
        "local_times_quicker": spark / local,
    }


def many(root: Path, engine: str) -> dict[str, float]:
    """Fourteen days by one backfill, and by fourteen runs."""
    for number, day in enumerate(DAYS):
        folder = root / "data" / "rows" / f"date={day}"
        if not folder.exists():
            folder.mkdir(parents=True)
            frame = WORKLOADS["A"].frame(DAY_ROWS, 100 + number)
            pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), folder / "part-0.parquet")
    unpublish(root, engine)
    backfill = command(root, engine, "backfill", "--from", DAYS[0], "--to", DAYS[-1])
    unpublish(root, engine)
    runs = sum(command(root, engine, "run", "--partition", day) for day in DAYS)
    return {"backfill": backfill, "runs": runs, "share": backfill / runs}


def large(home: Path, rows: int, cores: int) -> dict[str, float]:
    """The seconds of scoring on a warm session, and the peak memory of one Python worker in MiB."""
    from contenders import score_only

    root = make(WORKLOADS["A"], home, rows=rows, cores=cores)
    job = score_only(root, cores)
    job(SMALL_DAY)
    peak, stop = [0.0], threading.Event()
    watcher = threading.Thread(target=_watch, args=(peak, stop))
    watcher.start()
    began = time.perf_counter()
    job(DAY)
    seconds = time.perf_counter() - began
    stop.set()
    watcher.join()
    return {"rows": rows, "seconds": seconds, "worker_mib": peak[0]}


def _watch(peak: list[float], stop: threading.Event) -> None:
    while not stop.wait(0.2):
        for child in psutil.Process().children(recursive=True):
            try:
                if "python" in child.name():
                    peak[0] = max(peak[0], child.memory_info().rss / 2**20)
            except psutil.NoSuchProcess:
                continue


@click.command()
@click.argument("what", nargs=-1, type=click.Choice(["small", "many", "large"]))
@click.option("--rounds", default=3, show_default=True)
@click.option("--rows", multiple=True, type=int, default=(1_000_000, 5_000_000, 20_000_000))
@click.option("--home", default=HERE / ".data", type=click.Path(path_type=Path))
@click.option("--results", default=HERE / "results", type=click.Path(path_type=Path))
def main(what: tuple[str, ...], rounds: int, rows: tuple[int, ...], home: Path, results: Path) -> None:
    """Runs the named benchmarks, or all."""
    cores = psutil.cpu_count() or 1
    root = make(WORKLOADS["A"], home, rows=2_000, cores=cores)
    trials: dict[str, Callable[[], Any]] = {
        "small": lambda: small(root, rounds),
        "many": lambda: {engine: many(root, engine) for engine in ("spark", "local")},
        "large": lambda: [large(home, count, cores) for count in rows],
    }
    file = results / "days.json"
    results.mkdir(parents=True, exist_ok=True)
    known: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for name in what or trials:
        found = trials[name]()
        known |= {name: json.loads(json.dumps(found), parse_float=lambda text: round(float(text), 3))}
        known["machine"] = machine()
        file.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        click.echo(f"{name}: {json.dumps(known[name])}")


if __name__ == "__main__":
    main()
