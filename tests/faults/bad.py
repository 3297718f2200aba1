"""Publishers that are known to be bad. An oracle that does not convict them is no oracle."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from batchdeploy.ports import TableAccess
from batchdeploy.publishing import control_folder
from faults.publishing import rows_of, swap_table

FIXED = "0" * 16


def publish_fixed_names(root: Path, folder: str, run: str) -> None:
    """Each file replaced atomically under a fixed name; the partition as a whole is not."""
    scratch = root.with_name("scratch")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    (root / folder).mkdir(parents=True, exist_ok=True)
    rows = rows_of(folder, run)
    for number in range(2):
        part = rows.slice(number * 4, 4 if number == 0 else None)
        pq.write_table(part, scratch / f"part-{number:05d}-{FIXED}.parquet")
    for file in sorted(scratch.iterdir()):
        os.replace(file, root / folder / file.name)


def without_lock(root: Path) -> TableAccess:
    """The real publisher, but nobody waits for anybody. Only to be made in a child process."""

    @contextmanager
    def open_door(*_arguments: object) -> Iterator[None]:
        yield

    control_folder.locked = open_door  # type: ignore[assignment]
    return swap_table(root)


def without_fence(root: Path) -> TableAccess:
    """The real publisher, but a run that was overtaken publishes all the same."""
    access = swap_table(root)
    publisher: Any = access.publisher
    publisher._fenced = lambda planned: publisher._journal.settle(planned.folder)
    return access


SPARK_OVERWRITE = """
import sys
from pyspark.sql import SparkSession
target, run, partitions = sys.argv[1], sys.argv[2], int(sys.argv[3])
spark = (SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    .config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.sql.sources.partitionOverwriteMode", "dynamic").getOrCreate())
day = f"concat('d', id % {partitions}) AS date"
rows = spark.range(partitions * 4).selectExpr("id", f"'{run}' AS _run_id", day)
print("writing", flush=True)
rows.repartition(2).write.partitionBy("date").mode("overwrite").parquet(target)
print("written", flush=True)
"""


def some_delay(seed: int) -> float:
    return random.Random(seed).random() * 0.05
