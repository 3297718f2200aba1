"""Scores a table in memory with the same results as for the files of a partition."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from batchdeploy.core.scoring_spec import ScoringSpec
from batchdeploy.errors import DataError, Problem, shorten
from batchdeploy.kernel.batch_loop import Counts, Writers, flag_duplicates, retry_smaller, score_batches
from batchdeploy.kernel.keys import duplicate_rows, hash_keys, key_tuples
from batchdeploy.kernel.row_filter import FilteredBatch, columns_read, filter_batch
from batchdeploy.kernel.scoring import columns_needed, quarantine_schema, replace_columns

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class ScoredTable(NamedTuple):
    """The result of scoring a table.

    Attributes:
        scored: keys, kept columns, outputs and stamps of the scored rows.
        quarantined: the other rows matching ``where``, with stage, reason and error.
        counts: the number of rows, of quarantined rows by reason, and the profile of the values.
    """

    scored: pa.Table
    quarantined: pa.Table
    counts: Counts


def score_table(
    rows: pa.Table | pd.DataFrame, spec: ScoringSpec, predict: Callable[[Any], Any], *, source: str = ""
) -> ScoredTable:
    """Scores rows in memory like the same rows in a file; also finds duplicate keys.

    Args:
        rows: the rows, with the columns that the spec names. NaN in a frame is null; its index is dropped.
        spec: columns, policy, outputs and stamps.
        predict: a function from a frame of the model's inputs to predictions, one per row.
        source: the origin of the rows, for the quarantined ones.

    Raises:
        DataError: a column is missing, or a frame's column mixes types.
        ScoringRefused: see `batchdeploy.kernel.scoring.score_batch`.
    """
    table = _as_table(rows, source)
    if missing := [name for name in _wanted(spec) if name not in table.column_names]:
        raise DataError(source or "the table", tuple(Problem(name, "no such column") for name in missing))
    return retry_smaller(lambda size: _score(table, size, spec, predict, source), spec.batch_rows)


def _score(
    table: pa.Table, batch_rows: int, spec: ScoringSpec, predict: Callable[[Any], Any], source: str
) -> ScoredTable:
    import pyarrow as pa

    batches = tuple(_filtered(table, batch_rows, spec))
    duplicates = duplicate_rows(
        [hash_keys(_keys(batches, spec))], lambda _, rows: key_tuples(_keys(batches, spec).take(rows))
    )
    scored: list[pa.RecordBatch] = []
    quarantined: list[pa.RecordBatch] = []
    counts = score_batches(
        flag_duplicates(batches, duplicates.get(0, ()), spec.keys),
        spec,
        predict,
        source=source,
        writers=Writers(scored.append, quarantined.append),
    )
    schema = quarantine_schema(replace_columns(batches[0].batch, batches[0].originals).schema)
    return ScoredTable(pa.Table.from_batches(scored), pa.Table.from_batches(quarantined, schema), counts)


def _filtered(table: pa.Table, batch_rows: int, spec: ScoringSpec) -> Iterator[FilteredBatch]:
    columns = columns_needed(spec, table.column_names)
    read, first = table.select(columns_read(columns, spec.where)), 0
    # NOTE: an empty table has no batches, so its schema would be lost.
    for batch in read.combine_chunks().to_batches(max_chunksize=batch_rows) or _no_rows(read.schema):
        yield filter_batch(batch, spec, columns, first_row=first)
        first += batch.num_rows


def _no_rows(schema: pa.Schema) -> list[pa.RecordBatch]:
    import pyarrow as pa

    return [pa.RecordBatch.from_arrays([pa.array([], kind) for kind in schema.types], schema=schema)]


def _keys(batches: tuple[FilteredBatch, ...], spec: ScoringSpec) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_batches([filtered.batch.select(list(spec.keys)) for filtered in batches])


def _wanted(spec: ScoringSpec) -> list[str]:
    required = [column.name for column in spec.inputs if column.required]
    return [*dict.fromkeys([*spec.keys, *spec.keep, *required, *(p.column for p in spec.where)])]


def _as_table(rows: pa.Table | pd.DataFrame, source: str) -> pa.Table:
    import pyarrow as pa

    if isinstance(rows, pa.Table):
        return rows
    try:
        return pa.Table.from_pandas(rows, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        problem = Problem("columns", "hold values of several types", shorten(error))
        raise DataError(source or "the table", (problem,)) from error
