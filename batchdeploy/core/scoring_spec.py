"""How rows are scored, independent of their source and of the output's location."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from batchdeploy.core.casts import CastType
from batchdeploy.core.column_types import array_type
from batchdeploy.core.deployment import OutputColumn
from batchdeploy.core.policy import PolicySpec
from batchdeploy.core.predicates import Predicate
from batchdeploy.core.profiles import ColumnProfile
from batchdeploy.core.records import Column, Returns, TensorInput

# Larger batches are not faster; BATCH_BYTES bounds the memory of one or two copies of a batch in a worker.
MAX_ROWS, MIN_ROWS, BATCH_BYTES = 65_536, 1024, 64 * 2**20
TEXT_BYTES, VALUE_BYTES, ARRAY_VALUES = 64, 8, 64


def batch_rows(inputs: Sequence[Column]) -> int:
    """How many rows the model predicts per call: fewer for many inputs, to bound memory."""
    width = sum(_bytes(column.type) for column in inputs)
    return max(MIN_ROWS, min(MAX_ROWS, BATCH_BYTES // max(1, width)))


def _bytes(type_name: str) -> int:
    array = array_type(type_name)
    element = TEXT_BYTES if (array.element if array else type_name) in ("string", "binary") else VALUE_BYTES
    return element * ((array.size or ARRAY_VALUES) if array else 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringSpec:
    """Everything the kernel needs besides the model and the rows.

    Attributes:
        model_version, run_id, scored_at_us: written to every scored row; microseconds since the epoch.
        inputs: the model's inputs, with the types of its signature.
        outputs: name and declaration of each output.
        returns: the kind of the model's output, according to its signature.
        max_failures: rows of one batch whose prediction may fail before the run is refused.
        where: the predicates that rows have to match; rows that do not are excluded.
        casts: the columns that are cast on reading, to which type.
        policy: the row policy.
        bins: the reference's columns with their counts at zero, to count values into.
        batch_rows: rows that the model predicts per call.
        params: passed to the model with every batch.
        tensors: how the inputs are put together; empty for a frame.
    """

    model_version: int
    inputs: tuple[Column, ...]
    keys: tuple[str, ...]
    keep: tuple[str, ...]
    outputs: tuple[tuple[str, OutputColumn], ...]
    run_id: str
    scored_at_us: int
    max_failures: int
    returns: Returns = "unknown"
    where: tuple[Predicate, ...] = ()
    casts: dict[str, CastType] = field(default_factory=dict)
    policy: PolicySpec = PolicySpec()
    bins: tuple[ColumnProfile, ...] = ()
    batch_rows: int = MAX_ROWS
    params: dict[str, Any] = field(default_factory=dict)
    tensors: tuple[TensorInput, ...] = ()
