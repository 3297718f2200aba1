"""Finds the splits with duplicate keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from batchdeploy.adapters.parquet_splits.row_reader import read_batches
from batchdeploy.adapters.parquet_splits.scratch_files import read_hashes
from batchdeploy.core.work import ScoreJob, Split, SplitResult
from batchdeploy.kernel.keys import duplicate_rows, key_tuples

if TYPE_CHECKING:
    import numpy as np


def find_duplicates(
    job: ScoreJob, splits: Sequence[Split], results: Sequence[SplitResult]
) -> tuple[Split, ...]:
    """The splits that hold rows with duplicate keys, each with its duplicate rows listed.

    Args:
        job: the scoring job.
        splits: all splits of the partition.
        results: their results, in any order.
    """
    ordered = sorted(results, key=lambda result: result.index)
    by_index = {split.index: split for split in splits}

    def keys_of(place: int, rows: np.ndarray[Any, Any]) -> list[tuple[Any, ...]]:
        batches = read_batches(by_index[ordered[place].index], job.spec, job.spec.keys)
        return key_tuples(pa.Table.from_batches([filtered.batch for filtered in batches]).take(rows))

    parts = read_hashes(job.folders, [result.keys for result in ordered])
    found = duplicate_rows(parts, keys_of)
    return tuple(replace(by_index[ordered[place].index], duplicates=rows) for place, rows in found.items())
