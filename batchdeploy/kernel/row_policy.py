"""Applies the row policy to a batch: counts the violations of each rule, and quarantines rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from batchdeploy.core.column_types import array_type
from batchdeploy.core.policy import PolicySpec, PolicyViolation, Rule
from batchdeploy.core.records import Column
from batchdeploy.kernel.lists import flatten_lists, is_list

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from batchdeploy.kernel.frames import RowStatus

REASONS: dict[Rule, str] = {
    "null_key": "null key",
    "duplicate_key": "duplicate key",
    "null": "null in the required feature",
    "nan": "NaN in",
    "infinity": "infinite:",
    "out_of_range": "out of range:",
    "unseen_category": "unseen category in",
    "large_cell": "cell too large in",
    "wrong_length": "a list of another length than the model takes:",
    "invalid_text": "not UTF-8:",
    "inexact": "finer than microseconds, or beyond them:",
    "cast": "lost in the cast of",
    "other_partition": "not the folder's value:",
}
Broken = tuple[Rule, str, "pa.Array"]


class RowFault(NamedTuple):
    """Rows of a batch (positions) that violate a rule, found on reading."""

    rule: Rule
    column: str
    rows: Sequence[int] | np.ndarray[Any, Any]
    reason: str | None = None


def apply_row_policy(
    batch: pa.RecordBatch,
    policy: PolicySpec,
    columns: tuple[Sequence[str], Sequence[Column]],
    status: RowStatus,
) -> Counter[tuple[Rule, str]]:
    """Quarantines the rows that the policy does not pass.

    Args:
        batch: the rows.
        policy: the action for each rule.
        columns: the names of the key columns, and the model's inputs.
        status: records the quarantined rows.

    Returns:
        The number of rows that violate a rule, by rule and column, including rules that pass them.
    """
    import numpy as np

    keys, inputs = columns
    counts: Counter[tuple[Rule, str]] = Counter()
    for rule, column, mask in _broken(batch, policy, keys, inputs):
        rows = np.flatnonzero(mask.fill_null(False).to_numpy(zero_copy_only=False))
        if rule in ("null", "null_key") and column in status.uncast:
            # NOTE: a value that is lost in a cast is null here, and was none in the file.
            rows = np.setdiff1d(rows, status.uncast[column])
        if len(rows):
            counts[rule, column] += len(rows)
            if policy.action(rule) != "pass":
                status.quarantine(rows, "input", f"{REASONS[rule]} {column}")
    return counts


def note_faults(
    faults: Iterable[RowFault], policy: PolicySpec, status: RowStatus
) -> Counter[tuple[Rule, str]]:
    """Quarantines the rows of these faults unless the policy passes them; returns the counts of all."""
    counts: Counter[tuple[Rule, str]] = Counter()
    for rule, column, rows, reason in faults:
        counts[rule, column] += len(rows)
        if rule == "cast":
            status.uncast[column] = rows
        if policy.action(rule) != "pass":
            status.quarantine(rows, "input", reason or f"{REASONS[rule]} {column}")
    return counts


def findings(counts: Counter[tuple[Rule, str]], policy: PolicySpec) -> tuple[PolicyViolation, ...]:
    """The counts as records, in a fixed order."""
    return tuple(
        PolicyViolation(rule=rule, column=column, action=policy.action(rule), rows=rows)
        for (rule, column), rows in sorted(counts.items())
    )


def _broken(
    batch: pa.RecordBatch, policy: PolicySpec, keys: Sequence[str], inputs: Sequence[Column]
) -> Iterator[Broken]:
    for name in keys:
        if (values := batch.column(name)).null_count:
            yield "null_key", name, values.is_null()
    for feature in inputs:
        if feature.name in batch.schema.names:
            yield from _feature(_decoded(batch.column(feature.name)), feature)
    for name, (low, high) in (policy.ranges or {}).items():
        if name in batch.schema.names:
            yield from _range(name, _decoded(batch.column(name)), low, high)
    for name, known in (policy.categories or {}).items():
        if name in batch.schema.names:
            yield from _category(name, _decoded(batch.column(name)), known)
    for name in batch.schema.names:
        yield from _cells(name, _decoded(batch.column(name)), policy.max_cell_bytes)


def _feature(values: pa.Array, feature: Column) -> Iterator[Broken]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if is_list(values.type):
        yield from _list_feature(values, feature)
        return
    if feature.required and values.null_count:
        yield "null", feature.name, values.is_null()
    # A finite sum proves that all values are finite, and is much cheaper than two masks.
    if pa.types.is_floating(values.type) and not _finite(pc.sum(values).as_py()):
        yield "nan", feature.name, pc.is_nan(values)
        yield "infinity", feature.name, pc.is_inf(values)


def _list_feature(values: pa.Array, feature: Column) -> Iterator[Broken]:
    import pyarrow as pa
    import pyarrow.compute as pc

    found, array = flatten_lists(values), array_type(feature.type)
    null = values.is_null()
    if array is not None and array.size is not None:
        wrong = found.lengths != array.size
        if wrong.any():
            yield "wrong_length", feature.name, pc.and_(pa.array(wrong), pc.invert(null))
    if feature.required and (values.null_count or found.elements.null_count):
        yield "null", feature.name, pc.or_(null, found.rows_where(found.elements.is_null()))
    elements = _decoded(found.elements)
    if pa.types.is_floating(elements.type) and not _finite(pc.sum(elements).as_py()):
        yield "nan", feature.name, found.rows_where(pc.is_nan(elements))
        yield "infinity", feature.name, found.rows_where(pc.is_inf(elements))


def _finite(total: float | None) -> bool:
    import math

    return total is None or math.isfinite(total)


def _range(name: str, values: pa.Array, low: float | None, high: float | None) -> Iterator[Broken]:
    import pyarrow.compute as pc

    masks = []
    if low is not None:
        masks.append(pc.less(values, low))
    if high is not None:
        masks.append(pc.greater(values, high))
    if len(masks) == 2:
        masks = [pc.or_kleene(*masks)]
    for mask in masks:
        if pc.any(mask).as_py():
            yield "out_of_range", name, mask


def _category(name: str, values: pa.Array, known: Sequence[str]) -> Iterator[Broken]:
    import pyarrow as pa
    import pyarrow.compute as pc

    text = values.cast(pa.string())
    mask = pc.and_(pc.invert(pc.is_in(text, value_set=pa.array(known, pa.string()))), text.is_valid())
    if pc.any(mask).as_py():
        yield "unseen_category", name, mask


def _cells(name: str, values: pa.Array, most: int) -> Iterator[Broken]:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    # If the whole column is smaller than the limit, so is each cell.
    if values.nbytes > most and any(is_kind(kind) for is_kind in texts):
        mask = pc.greater(pc.binary_length(values), most)
        if pc.any(mask).as_py():
            yield "large_cell", name, mask


def _decoded(values: Any) -> pa.Array:
    import pyarrow as pa

    if isinstance(values.type, pa.DictionaryType):
        return values.dictionary_decode()
    # NOTE: Arrow has no arithmetic for half floats.
    return values.cast(pa.float32()) if values.type == pa.float16() else values
