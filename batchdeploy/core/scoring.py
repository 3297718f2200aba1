"""The kernel: a batch of rows in, scored rows and set-aside rows out. It knows no engine and no file.

A row leaves in exactly one of two ways: scored, or set aside with the stage and the reason. Only an answer
whose *shape* is wrong (another length, other columns, strings for numbers) stops the run, because it
condemns every row alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from batchdeploy.core.outputs import convert_output, pick_outputs
from batchdeploy.core.records import Column
from batchdeploy.core.work import ScoreJob
from batchdeploy.errors import Problem, ScoringRefused, shorten

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

Stage = Literal["input", "predict", "output"]
ASIDE_COLUMNS = ("_stage", "_reason", "_error", "_source_file", "_source_row", "_run_id")
NUMPY_TYPES = {"integer": "int32", "long": "int64", "float": "float32", "double": "float64"}


@dataclass(slots=True)
class Verdicts:
    """Which rows of a batch are still alive, and why the others are not."""

    alive: np.ndarray[Any, Any]
    reasons: dict[int, tuple[Stage, str, str]] = field(default_factory=dict)

    def set_aside(self, rows: Sequence[int] | np.ndarray[Any, Any], stage: Stage, reason: str) -> None:
        for row in rows:
            if self.alive[row]:
                self.alive[row] = False
                self.reasons[int(row)] = (stage, reason, "")

    def failed(self, row: int, error: BaseException) -> None:
        self.alive[row] = False
        text = f"{type(error).__name__}: {shorten(error)}"
        self.reasons[row] = ("predict", "the model failed on this row", text)


def columns_needed(job: ScoreJob, available: Sequence[str]) -> list[str]:
    """The input columns to read: keys, the model's inputs and the kept ones, each once."""
    wanted = [*job.keys, *(column.name for column in job.inputs), *job.keep]
    return [name for name in dict.fromkeys(wanted) if name in available]


def score_batch(
    batch: pa.RecordBatch, job: ScoreJob, predict: Callable[[Any], Any], *, source: tuple[str, int]
) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Scores one batch.

    Args:
        batch: the columns of `columns_needed`; any number of rows.
        job: what to do.
        predict: a frame of the model's inputs to its answer, one row each.
        source: the input file and the position in it of the batch's first row, for set-aside rows.

    Returns:
        (scored, set aside); together they have as many rows as ``batch``.

    Raises:
        ScoringRefused: the answer has the wrong shape, or the model fails on too many rows.
    """
    import numpy as np

    verdicts = Verdicts(np.ones(batch.num_rows, dtype=bool))
    for key in job.keys:
        verdicts.set_aside(np.flatnonzero(batch.column(key).is_null()), "input", f"null key {key}")
    frame = model_frame(batch, job.inputs, verdicts)
    rows = np.flatnonzero(verdicts.alive)
    answers = _predict(predict, frame.iloc[rows].reset_index(drop=True), rows, job, verdicts)
    outputs = _outputs(answers, job, verdicts)
    return _scored(batch, job, verdicts, outputs), _set_aside(batch, job, verdicts, source)


def model_frame(batch: pa.RecordBatch, inputs: Sequence[Column], verdicts: Verdicts) -> pd.DataFrame:
    """The model's inputs as its signature types them; rows that cannot be so are set aside.

    A null in a floating point column becomes NaN, in a string or boolean one None. An integer column of
    a NumPy frame has no way to say null, so such a row is set aside rather than given a made-up number.
    """
    import pandas as pd

    return pd.DataFrame(
        {
            column.name: _model_column(batch, column, verdicts)
            for column in inputs
            if column.name in batch.schema.names
        },
        index=pd.RangeIndex(batch.num_rows),
    )


def _model_column(batch: pa.RecordBatch, column: Column, verdicts: Verdicts) -> Any:
    import numpy as np
    import pyarrow as pa

    values = batch.column(column.name)
    if isinstance(values.type, pa.DictionaryType):
        values = values.dictionary_decode()
    null = values.is_null().to_numpy(zero_copy_only=False)
    if column.type in ("string", "binary"):
        return values.to_numpy(zero_copy_only=False)
    if column.type == "datetime":
        return _datetime_column(values, column, verdicts)
    if column.type == "boolean":
        if not column.required:
            return values.to_numpy(zero_copy_only=False)
        verdicts.set_aside(np.flatnonzero(null), "input", f"null in the required feature {column.name}")
        return values.fill_null(False).to_numpy(zero_copy_only=False)
    if column.type in ("integer", "long"):
        reason = f"null in the integer feature {column.name}"
        verdicts.set_aside(np.flatnonzero(null), "input", reason)
        return values.fill_null(0).cast(NUMPY_TYPES[column.type]).to_numpy(zero_copy_only=False)
    return _float_column(values, column, verdicts)


def _datetime_column(values: pa.Array, column: Column, verdicts: Verdicts) -> np.ndarray[Any, Any]:
    """Nanoseconds since the epoch in UTC, which reach from 1677 to 2262 only."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    years = pc.year(values)
    outside = pc.fill_null(pc.or_(pc.less(years, 1678), pc.greater(years, 2261)), False)
    rows = np.flatnonzero(outside.to_numpy(zero_copy_only=False))
    verdicts.set_aside(rows, "input", f"too far away for nanoseconds: {column.name}")
    kept = pc.if_else(outside, pa.scalar(None, values.type), values)
    stamps: np.ndarray[Any, Any] = kept.cast(pa.timestamp("ns")).to_numpy(zero_copy_only=False)
    return stamps


def _float_column(values: pa.Array, column: Column, verdicts: Verdicts) -> np.ndarray[Any, Any]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    floats: np.ndarray[Any, Any] = values.cast(NUMPY_TYPES[column.type], safe=False).to_numpy(
        zero_copy_only=False
    )
    if pa.types.is_integer(values.type):
        # NOTE: 2**53 and beyond: a double no longer holds every integer, so the cast is checked back.
        back = pa.array(floats, from_pandas=True).cast(values.type, safe=False)
        changed = pc.fill_null(pc.not_equal(back, values), False).to_numpy(zero_copy_only=False)
        verdicts.set_aside(np.flatnonzero(changed), "input", f"too large for {column.type}: {column.name}")
    return floats


def _predict(
    predict: Callable[[Any], Any],
    frame: pd.DataFrame,
    rows: np.ndarray[Any, Any],
    job: ScoreJob,
    verdicts: Verdicts,
) -> list[tuple[np.ndarray[Any, Any], Any]]:
    """The answers with the rows they belong to; a failing batch is halved down to the rows at fault."""
    if not len(rows):
        return []
    try:
        return [(rows, predict(frame))]
    except Exception as error:
        if len(rows) == 1:
            verdicts.failed(int(rows[0]), error)
            return []
        failures = sum(stage == "predict" for stage, _, _ in verdicts.reasons.values())
        if failures > job.max_failures:
            raise ScoringRefused(
                f"model version {job.model_version}",
                (Problem("predict", f"fails on more than {job.max_failures} rows of a batch", str(error)),),
            ) from error
    half = len(rows) // 2
    first = _predict(predict, frame.iloc[:half].reset_index(drop=True), rows[:half], job, verdicts)
    return first + _predict(predict, frame.iloc[half:].reset_index(drop=True), rows[half:], job, verdicts)


def _outputs(
    answers: list[tuple[np.ndarray[Any, Any], Any]], job: ScoreJob, verdicts: Verdicts
) -> dict[str, pa.ChunkedArray]:
    import numpy as np
    import pyarrow as pa

    chunks: dict[str, list[Any]] = {name: [] for name, _ in job.outputs}
    order: list[Any] = []
    for rows, answer in answers:
        order.append(rows)
        for (name, column), values in zip(
            job.outputs, pick_outputs(answer, job.outputs, len(rows)), strict=True
        ):
            converted, bad = convert_output(name, column.type, values)
            chunks[name].append(converted)
            for reason, positions in bad:
                verdicts.set_aside(rows[positions], "output", reason)
    if not order:
        return {}
    rows = np.concatenate(order)
    keep = pa.array(verdicts.alive[rows])
    return {name: pa.chunked_array(parts).filter(keep) for name, parts in chunks.items()}


def _scored(
    batch: pa.RecordBatch, job: ScoreJob, verdicts: Verdicts, outputs: dict[str, pa.ChunkedArray]
) -> pa.RecordBatch:
    import pyarrow as pa

    schema = scored_schema(batch.schema, job)
    kept = batch.select([*job.keys, *job.keep]).filter(pa.array(verdicts.alive))
    rows = kept.num_rows
    stamps = (job.model_version, job.run_id, job.scored_at_us)
    columns = [
        *kept.columns,
        *(
            outputs[name].combine_chunks() if outputs else pa.array([], schema.field(name).type)
            for name, _ in job.outputs
        ),
        *(
            pa.repeat(pa.scalar(stamp, schema.field(-3 + position).type), rows)
            for position, stamp in enumerate(stamps)
        ),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def scored_schema(source: pa.Schema, job: ScoreJob) -> pa.Schema:
    """The columns of a published file: keys, kept columns, declared outputs, and three stamps."""
    import pyarrow as pa

    from batchdeploy.core.outputs import arrow_type

    return pa.schema(
        [source.field(name).remove_metadata() for name in (*job.keys, *job.keep)]
        + [pa.field(name, arrow_type(column.type)) for name, column in job.outputs]
        + [
            pa.field("_model_version", pa.int64(), nullable=False),
            pa.field("_run_id", pa.string(), nullable=False),
            pa.field("_scored_at", pa.timestamp("us", tz="UTC"), nullable=False),
        ]
    )


def _set_aside(
    batch: pa.RecordBatch, job: ScoreJob, verdicts: Verdicts, source: tuple[str, int]
) -> pa.RecordBatch:
    import pyarrow as pa

    rows = sorted(verdicts.reasons)
    found = [verdicts.reasons[row] for row in rows]
    notes: dict[str, Any] = {
        "_stage": pa.array([stage for stage, _, _ in found], pa.string()),
        "_reason": pa.array([reason for _, reason, _ in found], pa.string()),
        "_error": pa.array([error for _, _, error in found], pa.string()),
        "_source_file": pa.array([source[0]] * len(rows), pa.string()),
        "_source_row": pa.array([source[1] + row for row in rows], pa.int64()),
        "_run_id": pa.array([job.run_id] * len(rows), pa.string()),
    }
    taken = batch.take(pa.array(rows, pa.int64()))
    return pa.RecordBatch.from_arrays(
        [*taken.columns, *notes.values()],
        schema=pa.schema(
            [field.remove_metadata() for field in batch.schema]
            + [pa.field(name, values.type) for name, values in notes.items()]
        ),
    )
