"""A table in memory is scored as the same rows in files are, row for row and count for count."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from score_jobs import score_job, scoring_spec

from batchdeploy.adapters.parquet_splits import find_duplicates, make_splits, score_split
from batchdeploy.adapters.sources.folder import FolderSource
from batchdeploy.core.deployment import DataRef, PartitionSpec
from batchdeploy.core.policy import PolicySpec
from batchdeploy.core.predicates import Predicate
from batchdeploy.core.records import Column
from batchdeploy.core.scoring_spec import ScoringSpec
from batchdeploy.core.work import SplitResult
from batchdeploy.errors import DataError
from batchdeploy.kernel.batch_loop import retry_smaller
from batchdeploy.kernel.profiling import make_bins
from batchdeploy.kernel.score_table import score_table

REF = DataRef(path="data", partition=PartitionSpec(column="date"), keys=("id",))
SOURCE = "date=2024-01-01/part-0.parquet"
ROWS = 500
NUMBERS = np.random.default_rng(7).normal(size=ROWS)
BINS = (make_bins("x", "feature", pa.array(NUMBERS)), make_bins("y", "output", pa.array(2 * NUMBERS)))
SPEC = scoring_spec(
    inputs=(Column(name="x", type="double"), Column(name="city", type="string", required=False)),
    keep=("at", "city"),
    max_failures=20,
    where=(Predicate(column="group", op="in", value=(1, 2)),),
    policy=PolicySpec(ranges={"x": (-2.5, None)}),
    bins=BINS,
)


def table() -> pa.Table:
    """Rows of all kinds: null and doubled keys, NaN, infinite values, broken texts, fine times."""
    ids: list[str | None] = [f"k{n}" for n in range(ROWS)]
    ids[4] = None
    ids[10] = ids[400] = "k1"
    values = NUMBERS.copy()
    values[[20, 22]] = np.nan, np.inf
    cities = np.array([b"Bern", b"Chur", b"Z\xfcrich"], dtype=object)[np.arange(ROWS) % 50 // 24]
    moment = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()) * 10**9
    times = [moment + n * 1000 + (n == 31) for n in range(ROWS)]
    return pa.table(
        {
            "id": pa.array(ids).dictionary_encode(),
            "x": pa.array(values, from_pandas=False),
            "city": pa.array(cities, pa.binary()).view(pa.string()),
            "at": pa.array(times, pa.timestamp("ns", "UTC")),
            "group": pa.array([n % 3 for n in range(ROWS)], pa.int8()),
        }
    )


def predict(frame: pd.DataFrame) -> Any:
    if frame["x"].lt(-2.0).any():
        raise ValueError("out of reach")
    return np.where(frame["x"].isna(), np.nan, frame["x"] * 2)


def scored_from_file(root: Path, rows: pa.Table, spec: ScoringSpec) -> tuple[pa.Table, pa.Table, SplitResult]:
    """What a run does with a file of these rows: scored once, and again with the duplicates known."""
    file = root / "data" / SOURCE
    file.parent.mkdir(parents=True)
    pq.write_table(rows, file)
    (split,) = make_splits(FolderSource(root).pin(REF, "2024-01-01"))
    job = score_job(spec, staging=str(root / "staging"))
    result = score_split(split, job, lambda _: predict)
    for again in find_duplicates(job, (split,), (result,)):
        result = score_split(again, job, lambda _: predict)
    scored, quarantined = (
        pq.read_table(root / "staging" / kind / written.path, partitioning=None)
        for kind, written in (("scored", result.scored), ("quarantine", result.quarantine))
        if written is not None
    )
    return scored, quarantined, result


@pytest.mark.parametrize("batch_rows", [65_536, 64, 1])
def test_a_table_is_scored_as_a_file_is(tmp_path: Path, batch_rows: int) -> None:
    spec = replace(SPEC, batch_rows=batch_rows)
    scored, quarantined, result = scored_from_file(tmp_path, table(), spec)
    found = score_table(table(), spec, predict, source=SOURCE)
    assert found.scored.equals(scored)
    assert found.quarantined.schema == quarantined.schema
    # In Arrow, NaN does not equal NaN.
    assert str(found.quarantined.to_pylist()) == str(quarantined.to_pylist())
    counted = {name: getattr(result, name) for name in found.counts._fields if name != "hashes"}
    assert {name: getattr(found.counts, name) for name in counted} == counted
    stages = set(zip(*(quarantined[name].to_pylist() for name in ("_stage", "_reason")), strict=True))
    assert len(stages) == 8
    assert ("input", "duplicate key id") in stages
    assert found.counts.rows_left_out == len(range(0, ROWS, 3))


def test_a_frame_is_scored_as_the_file_that_pandas_writes_of_it(tmp_path: Path) -> None:
    rows = table().drop_columns(["city", "id"]).append_column("id", pa.array(range(ROWS)))
    frame = rows.to_pandas().set_index(pd.RangeIndex(7, 7 + ROWS))
    spec = replace(SPEC, inputs=SPEC.inputs[:1], keep=("at",))
    frame.to_parquet(tmp_path / "frame.parquet", index=False)
    scored, quarantined, _ = scored_from_file(tmp_path, pq.read_table(tmp_path / "frame.parquet"), spec)
    found = score_table(frame, spec, predict, source=SOURCE)
    assert found.scored.equals(scored)
    assert found.quarantined.schema == quarantined.schema
    # In Arrow, NaN does not equal NaN.
    assert str(found.quarantined.to_pylist()) == str(quarantined.to_pylist())


def test_where_memory_runs_out_the_work_begins_again_with_smaller_batches() -> None:
    sizes: list[int] = []

    def attempt(rows: int) -> int:
        sizes.append(rows)
        if rows > 100:
            raise MemoryError
        return rows

    assert retry_smaller(attempt, 65_536) == 16
    assert sizes == [65_536, 8192, 1024, 128, 16]
    with pytest.raises(MemoryError):
        retry_smaller(lambda _: attempt(1000), 64)
    assert sizes[5:] == [1000, 1000, 1000]


def test_no_rows_have_the_columns_of_results() -> None:
    found = score_table(table().slice(0, 0), SPEC, predict)
    assert (found.scored.num_rows, found.quarantined.num_rows, found.counts.rows_in) == (0, 0, 0)
    some = score_table(table(), SPEC, predict)
    assert found.scored.schema == some.scored.schema
    assert found.quarantined.schema == some.quarantined.schema


def test_what_a_table_lacks_is_told_at_once() -> None:
    with pytest.raises(DataError) as caught:
        score_table(table().select(["x"]), SPEC, predict)
    assert [problem.path for problem in caught.value.problems] == ["id", "at", "city", "group"]
    with pytest.raises(DataError, match="several types"):
        score_table(pd.DataFrame({"id": [1, "a"]}), SPEC, predict)
