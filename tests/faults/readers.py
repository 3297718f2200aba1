"""Plain readers racing with a publisher: old or new, or a loud error; never a mix.

One thing a swap cannot help: pyarrow (and with it pandas) and DuckDB list a folder, look at each file a few
microseconds later, and skip one that is no longer under its name. A swap in just that moment hides the
partition from that one read. Such reads are counted apart.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults.campaign import FOLDERS, PATIENCE, Known
from faults.killing import finished, in_child
from faults.oracle import content_of, published_run
from faults.publishing import publish, run_name, swap_table

PAUSE = 0.01
LEAST_RUNS = 12
Read = Callable[[Path], Any]


def by_duckdb(root: Path) -> Any:
    import duckdb

    with duckdb.connect() as connection:
        rows = f"read_parquet('{root}/*/*.parquet', hive_partitioning = true)"
        return connection.sql(f"SELECT id, y, _run_id, date FROM {rows}").to_arrow_table()


def by_pandas(root: Path) -> Any:
    import pandas as pd
    import pyarrow as pa

    return pa.Table.from_pandas(pd.read_parquet(root)[["id", "y", "_run_id", "date"]])


def by_polars(root: Path) -> Any:
    import polars as pl

    scan = pl.scan_parquet(f"{root}/*/*.parquet", hive_partitioning=True)
    return scan.select("id", "y", "_run_id", "date").collect().to_arrow()


def by_spark(root: Path) -> Any:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    spark = builder.config("spark.driver.bindAddress", "127.0.0.1").getOrCreate()
    return spark.read.parquet(str(root)).select("id", "y", "_run_id", "date").toArrow()


READERS: dict[str, Read] = {"DuckDB": by_duckdb, "pandas": by_pandas, "Polars": by_polars}


def racing_reads(root: Path, read: Read, *, reads: int, pause: float = PAUSE) -> dict[str, Any]:
    """Reads a table again and again while another process publishes its partitions in turn.

    Args:
        root: the table.
        read: a plain reader.
        reads: how many whole ones; a reader that takes long hears more often that a file is gone.
        pause: seconds between two publishes.
    """
    table = swap_table(root, keep=1, grace=5)
    for folder in FOLDERS:
        publish(table, folder, run_name(0), None)
    pid, reader = in_child(_publishing(root, pause))
    known, found, counts = Known(), [], Counter[str]()
    seen: set[str] = set()
    try:
        # On a busy machine the publisher may be slower than the reader; the trial then proves nothing.
        for _ in range(PATIENCE * reads):
            if counts["whole"] >= reads and len(seen) >= LEAST_RUNS:
                break
            try:
                table_ = read(root)
            except Exception as error:  # noqa: BLE001
                counts["said that a file was gone"] += 1
                if not _gone(error):
                    found.append(f"{type(error).__name__}: {str(error)[:200]}")
                continue
            counts["whole"] += 1
            found += _torn(table_, known, (seen, counts))
    finally:
        os.kill(pid, signal.SIGTERM)
        finished(pid, reader)
    return {**counts, "runs seen": len(seen), "violations": found}


def _publishing(root: Path, pause: float) -> Callable[[Callable[[str], None]], None]:
    def work(_tell: Callable[[str], None]) -> None:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        table = swap_table(root, keep=1, grace=5)
        for number in range(1, 10**9):
            folder = FOLDERS[number % len(FOLDERS)]
            publish(table, folder, run_name(number), published_run(root, folder))
            time.sleep(pause)

    return work


def _torn(table: Any, known: Known, notes: tuple[set[str], Counter[str]]) -> list[str]:
    found = []
    seen, counts = notes
    dates, runs = table["date"].to_pylist(), table["_run_id"].to_pylist()
    for folder in FOLDERS:
        mine = [place for place, date in enumerate(dates) if f"date={date}" == folder]
        inside = {runs[place] for place in mine}
        seen |= inside
        if not inside:
            counts["looked in the moment of a swap"] += 1
        elif len(inside) != 1:
            found.append(f"{folder}: {sorted(inside)}")
        elif content_of(table.take(mine)) != known[folder, inside.pop()]:
            found.append(f"{folder}: not the rows of its run")
    return found


def _gone(error: Exception) -> bool:
    text = str(error).lower()
    return any(
        word in text
        for word in (
            "no such file",
            "not found",
            "does not exist",
            "no files found",
            "not_found",
            "file_not_exist",
        )
    )
