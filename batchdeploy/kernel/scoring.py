"""Scores one batch: rows in, scored rows and quarantined rows out. No engine, no file.

Every row is either scored, or quarantined with a stage and a reason. Predictions of the wrong shape (another
length, other columns, text for numbers) stop the run, because they affect every row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from batchdeploy.core.policy import Rule
from batchdeploy.core.scoring_spec import ScoringSpec
from batchdeploy.errors import Problem, ScoringRefused
from batchdeploy.kernel.comparison import allclose
from batchdeploy.kernel.frames import RowStatus, model_frame
from batchdeploy.kernel.outputs import convert_output, pick_outputs
from batchdeploy.kernel.row_policy import RowFault, apply_row_policy, note_faults

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

QUARANTINE_COLUMNS = ("_stage", "_reason", "_error", "_source_file", "_source_row", "_run_id")
ASKED_TWICE = 32


class RowOrigin(NamedTuple):
    """Where the rows of a batch come from.

    Attributes:
        file: the input file, or table.
        rows: the position of each row in it; -1 where it is not known.
        originals: columns that were cast, as the file holds them; quarantined rows keep these values.
    """

    file: str
    rows: Sequence[int] | np.ndarray[Any, Any]
    originals: Mapping[str, pa.Array] = MappingProxyType({})


class ScoredRows(NamedTuple):
    """The result of scoring a batch.

    Attributes:
        broken: the number of rows that violate a rule of the policy, by rule and column.
    """

    scored: pa.RecordBatch
    quarantined: pa.RecordBatch
    broken: Counter[tuple[Rule, str]]


def columns_needed(spec: ScoringSpec, available: Sequence[str]) -> list[str]:
    """The input columns to read, each once: keys, the model's inputs, kept columns, the policy's columns."""
    wanted = [*spec.keys, *(column.name for column in spec.inputs), *spec.keep]
    wanted += [*(spec.policy.ranges or ()), *(spec.policy.categories or ())]
    return [name for name in dict.fromkeys(wanted) if name in available]


def score_batch(
    batch: pa.RecordBatch,
    spec: ScoringSpec,
    predict: Callable[[Any], Any],
    *,
    origin: RowOrigin,
    faults: Sequence[RowFault] = (),
) -> ScoredRows:
    """Scores one batch.

    Args:
        batch: the columns of `columns_needed`; any number of rows.
        spec: columns, policy, outputs and stamps.
        predict: a function from a frame of the model's inputs to predictions, one per row.
        origin: where each row comes from, for the quarantined rows.
        faults: faults of rows that were found on reading.

    Returns:
        The scored and the quarantined rows, together as many as ``batch`` has.

    Raises:
        ScoringRefused: the predictions have the wrong shape, or the model fails on too many rows.
    """
    import numpy as np

    status = RowStatus(np.ones(batch.num_rows, dtype=bool))
    broken = note_faults(faults, spec.policy, status)
    broken += apply_row_policy(batch, spec.policy, (spec.keys, spec.inputs), status)
    outputs = _answers(batch, spec, predict, status)
    scored = _scored(batch, spec, status, outputs)
    return ScoredRows(scored, _quarantined(batch, spec, status, origin), broken)


def valid_frame(batch: pa.RecordBatch, spec: ScoringSpec) -> pd.DataFrame:
    """The model's inputs of the valid rows."""
    import numpy as np

    status = RowStatus(np.ones(batch.num_rows, dtype=bool))
    apply_row_policy(batch, spec.policy, (spec.keys, spec.inputs), status)
    frame = model_frame(batch, spec.inputs, status)
    return frame[status.valid].reset_index(drop=True)


def same_twice(batch: pa.RecordBatch, spec: ScoringSpec, predict: Callable[[Any], Any]) -> None:
    """Predicts a few rows twice and compares; the second time with the original of an accelerated model.

    Raises:
        ScoringRefused: the predictions differ, so published scores could not be reproduced.
    """
    import numpy as np

    rows = batch.slice(0, ASKED_TWICE)
    answers = []
    for ask in (predict, getattr(predict, "native", predict)):
        status = RowStatus(np.ones(rows.num_rows, dtype=bool))
        apply_row_policy(rows, spec.policy, (spec.keys, spec.inputs), status)
        answers.append(_answers(rows, spec, ask, status))
    for name in answers[0]:
        first, second = (answer[name].to_pandas() for answer in answers)
        equal = (
            allclose(first, second, single=getattr(predict, "single", False))
            if first.dtype.kind == "f" and len(first) == len(second)
            else np.array([first.equals(second)])
        )
        if not equal.all():
            place = int(np.flatnonzero(~equal)[0])
            got = f"{first.iloc[place]} and then {second.iloc[place]}" if len(first) else "other rows"
            raise ScoringRefused(
                f"model version {spec.model_version}",
                (Problem(f"output {name}", "differs when the same rows are predicted twice", got),),
                hint="fix the model's seed, or set policy.nondeterministic to pass",
            )


def _answers(
    batch: pa.RecordBatch, spec: ScoringSpec, predict: Callable[[Any], Any], status: RowStatus
) -> dict[str, pa.ChunkedArray]:
    """The declared outputs of the rows that are valid before and after predicting."""
    import numpy as np

    frame = model_frame(batch, spec.inputs, status)
    rows = np.flatnonzero(status.valid)
    if len(rows) < batch.num_rows:
        frame = frame.iloc[rows].reset_index(drop=True)
    answers = _predict(predict, frame, rows, spec, status)
    return _outputs(answers, spec, status)


def _predict(
    predict: Callable[[Any], Any],
    frame: pd.DataFrame,
    rows: np.ndarray[Any, Any],
    spec: ScoringSpec,
    status: RowStatus,
) -> list[tuple[np.ndarray[Any, Any], Any]]:
    """Predictions with the rows they belong to; a failing batch is halved down to the failing rows."""
    if not len(rows):
        return []
    try:
        return [(rows, predict(frame))]
    except Exception as error:
        if len(rows) == 1:
            status.failed(int(rows[0]), error)
            return []
        failures = sum(stage == "predict" for stage, _, _ in status.reasons.values())
        if failures > spec.max_failures:
            raise ScoringRefused(
                f"model version {spec.model_version}",
                (Problem("predict", f"fails on more than {spec.max_failures} rows of a batch", str(error)),),
            ) from error
    half = len(rows) // 2
    first = _predict(predict, frame.iloc[:half].reset_index(drop=True), rows[:half], spec, status)
    return first + _predict(predict, frame.iloc[half:].reset_index(drop=True), rows[half:], spec, status)


def _outputs(
    answers: list[tuple[np.ndarray[Any, Any], Any]], spec: ScoringSpec, status: RowStatus
) -> dict[str, pa.ChunkedArray]:
    import numpy as np
    import pyarrow as pa

    chunks: dict[str, list[Any]] = {name: [] for name, _ in spec.outputs}
    order: list[Any] = []
    for rows, answer in answers:
        order.append(rows)
        try:
            picked = pick_outputs(answer, spec.outputs, len(rows), returns=spec.returns)
            converted = [
                (name, convert_output(name, column.type, values))
                for (name, column), values in zip(spec.outputs, picked, strict=True)
            ]
        except ScoringRefused as error:
            where = f"the answer of model version {spec.model_version}"
            raise ScoringRefused(where, error.problems, hint=error.hint) from None
        for name, (values, bad) in converted:
            chunks[name].append(values)
            for reason, positions in bad:
                status.quarantine(rows[positions], "output", reason)
    if not order:
        return {}
    rows = np.concatenate(order)
    keep = pa.array(status.valid[rows])
    return {name: pa.chunked_array(parts).filter(keep) for name, parts in chunks.items()}


def _scored(
    batch: pa.RecordBatch, spec: ScoringSpec, status: RowStatus, outputs: dict[str, pa.ChunkedArray]
) -> pa.RecordBatch:
    import pyarrow as pa

    schema = scored_schema(batch.schema, spec)
    kept = batch.select([*spec.keys, *spec.keep]).filter(pa.array(status.valid))
    rows = kept.num_rows
    stamps = (spec.model_version, spec.run_id, spec.scored_at_us)
    columns = [
        *kept.columns,
        *(
            outputs[name].combine_chunks() if outputs else pa.array([], schema.field(name).type)
            for name, _ in spec.outputs
        ),
        *(
            pa.repeat(pa.scalar(stamp, schema.field(-3 + position).type), rows)
            for position, stamp in enumerate(stamps)
        ),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def scored_schema(source: pa.Schema, spec: ScoringSpec) -> pa.Schema:
    """The schema of a published file: keys, kept columns, declared outputs, and three stamps."""
    import pyarrow as pa

    from batchdeploy.kernel.outputs import arrow_type

    return pa.schema(
        [source.field(name).remove_metadata() for name in (*spec.keys, *spec.keep)]
        + [pa.field(name, arrow_type(column.type)) for name, column in spec.outputs]
        + [
            pa.field("_model_version", pa.int64(), nullable=False),
            pa.field("_run_id", pa.string(), nullable=False),
            pa.field("_scored_at", pa.timestamp("us", tz="UTC"), nullable=False),
        ]
    )


def _quarantined(
    batch: pa.RecordBatch,
    spec: ScoringSpec,
    status: RowStatus,
    origin: RowOrigin,
) -> pa.RecordBatch:
    import pyarrow as pa

    rows = sorted(status.reasons)
    found = [status.reasons[row] for row in rows]
    notes: dict[str, Any] = {
        "_stage": pa.array([stage for stage, _, _ in found], pa.string()),
        "_reason": pa.array([reason for _, reason, _ in found], pa.string()),
        "_error": pa.array([error for _, _, error in found], pa.string()),
        "_source_file": pa.array([origin.file] * len(rows), pa.string()),
        "_source_row": pa.array([_known(int(origin.rows[row])) for row in rows], pa.int64()),
        "_run_id": pa.array([spec.run_id] * len(rows), pa.string()),
    }
    held = replace_columns(batch, origin.originals)
    taken = held.take(pa.array(rows, pa.int64()))
    return pa.RecordBatch.from_arrays(
        [*taken.columns, *notes.values()], schema=quarantine_schema(held.schema)
    )


def _known(position: int) -> int | None:
    return position if position >= 0 else None


def replace_columns(batch: pa.RecordBatch, columns: Mapping[str, pa.Array]) -> pa.RecordBatch:
    """The batch with other values, and types, in the named columns."""
    for name, values in columns.items():
        batch = batch.set_column(batch.schema.get_field_index(name), name, values)
    return batch


def quarantine_schema(source: pa.Schema) -> pa.Schema:
    """The schema of a quarantine file: the columns that were read, and the quarantine columns."""
    import pyarrow as pa

    kinds = {"_source_row": pa.int64()}
    return pa.schema(
        [field.remove_metadata() for field in source]
        + [pa.field(name, kinds.get(name, pa.string())) for name in QUARANTINE_COLUMNS]
    )
