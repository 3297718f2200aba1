"""Converts a batch to the frame for the model, and tracks which rows are valid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from batchdeploy.core.column_types import ArrayType, array_type
from batchdeploy.core.records import Column
from batchdeploy.errors import shorten
from batchdeploy.kernel.lists import flatten_lists
from batchdeploy.kernel.numbers import to_floats, to_integers
from batchdeploy.kernel.text import escape_invalid_utf8

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    Rows = Sequence[int] | np.ndarray[Any, Any]
    Quarantine = Callable[[Rows, "Stage", str], None]

Stage = Literal["input", "predict", "output"]
NUMPY_TYPES = {"integer": "int32", "long": "int64", "float": "float32", "double": "float64"}
SMALL_INTEGERS = ("int8", "int16", "uint8", "uint16", "uint32", "uint64")


@dataclass(slots=True)
class RowStatus:
    """Which rows of a batch are valid, and why the others are quarantined.

    Attributes:
        uncast: by column, the rows whose value was lost in a declared cast.
    """

    valid: np.ndarray[Any, Any]
    reasons: dict[int, tuple[Stage, str, str]] = field(default_factory=dict)
    uncast: dict[str, Any] = field(default_factory=dict)

    def quarantine(self, rows: Sequence[int] | np.ndarray[Any, Any], stage: Stage, reason: str) -> None:
        for row in rows:
            if self.valid[row]:
                self.valid[row] = False
                self.reasons[int(row)] = (stage, reason, "")

    def failed(self, row: int, error: BaseException) -> None:
        self.valid[row] = False
        text = f"{type(error).__name__}: {shorten(error)}"
        self.reasons[row] = ("predict", "the model failed on this row", text)


def model_frame(batch: pa.RecordBatch, inputs: Sequence[Column], status: RowStatus) -> pd.DataFrame:
    """The model's inputs in the types of its signature; rows that cannot be converted are quarantined.

    A null becomes NaN in a floating point column, and None in a string or boolean column. An integer column
    of NumPy cannot hold a null, so a row with one is quarantined.
    """
    import numpy as np
    import pandas as pd

    columns = {
        column.name: _model_column(batch, column, status)
        for column in inputs
        if column.name in batch.schema.names
    }
    kinds = {values.dtype for values in columns.values()}
    if len(columns) > 1 and len(kinds) == 1 and (kind := kinds.pop()).kind in "fi":
        # One row-major block: models use it without a copy, and trees predict a fifth faster.
        block = np.empty((batch.num_rows, len(columns)), dtype=kind)
        for place, values in enumerate(columns.values()):
            block[:, place] = values
        return pd.DataFrame(block, columns=list(columns), copy=False)
    return pd.DataFrame(columns, index=pd.RangeIndex(batch.num_rows))


def _model_column(batch: pa.RecordBatch, column: Column, status: RowStatus) -> Any:
    values = batch.column(column.name)
    if (array := array_type(column.type)) is not None:
        return _lists(values, column, array, status)
    return _typed(values, column, status.quarantine)


def _typed(values: pa.Array, column: Column, quarantine: Quarantine) -> Any:
    """Converts values to the model's type; calls ``quarantine`` with the positions that do not fit."""
    import numpy as np
    import pyarrow as pa

    if column.type in ("string", "binary"):
        return _objects(values)
    if isinstance(values.type, pa.DictionaryType):
        values = values.dictionary_decode()
    null = values.is_null().to_numpy(zero_copy_only=False)
    if column.type == "datetime":
        return _datetime_column(values, column, quarantine)
    if column.type == "boolean":
        if not column.required:
            return values.to_numpy(zero_copy_only=False)
        quarantine(np.flatnonzero(null), "input", f"null in the required feature {column.name}")
        return values.fill_null(False).to_numpy(zero_copy_only=False)
    if column.type in ("integer", "long", *SMALL_INTEGERS):
        reason = f"null in the integer feature {column.name}"
        quarantine(np.flatnonzero(null), "input", reason)
        integers, lost = to_integers(values, NUMPY_TYPES.get(column.type, column.type))
        quarantine(lost, "input", f"no whole number that fits {column.type}: {column.name}")
        return integers.to_numpy(zero_copy_only=False)
    floats, lost = to_floats(values, NUMPY_TYPES[column.type])
    what = "too large for" if pa.types.is_integer(values.type) else "lost in the cast to"
    quarantine(lost, "input", f"{what} {column.type}: {column.name}")
    return floats


def _lists(values: pa.Array, column: Column, array: ArrayType, status: RowStatus) -> Any:
    """An array for each row, of the signature's type; None for null where the model takes that."""
    import numpy as np
    import pyarrow as pa

    found = flatten_lists(values)
    null = values.is_null().to_numpy(zero_copy_only=False)
    if column.required:
        status.quarantine(np.flatnonzero(null), "input", f"null in the list feature {column.name}")

    def quarantine(places: Rows, stage: Stage, reason: str) -> None:
        status.quarantine(np.unique(found.rows[np.asarray(places, dtype="int64")]), stage, reason)

    elements = found.elements
    if pa.types.is_string(elements.type) or pa.types.is_large_string(elements.type):
        elements, spoilt = escape_invalid_utf8(elements.cast(pa.string()))
        if spoilt is not None:
            quarantine(np.flatnonzero(spoilt), "input", f"not UTF-8: {column.name}")
    # NOTE: an array of NumPy's has no null but among objects, whatever the signature says of the list itself.
    typed = _typed(elements, Column(name=column.name, type=array.element), quarantine)
    ends = np.cumsum(found.lengths)
    cells = np.empty(len(values), dtype=object)
    for row, (end, length) in enumerate(zip(ends.tolist(), found.lengths.tolist(), strict=True)):
        cells[row] = typed[end - length : end]
    cells[null] = None
    return cells


def _objects(values: pa.Array) -> Any:
    """Text as Python objects, one object per distinct value, so that it is created and hashed only once."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    coded = values if isinstance(values.type, pa.DictionaryType) else values.dictionary_encode()
    known = coded.dictionary.to_numpy(zero_copy_only=False)
    # Null gets the code after the last text.
    objects = np.append(known.astype(object), [None])
    codes = pc.fill_null(coded.indices.cast(pa.int64()), len(known)).to_numpy(zero_copy_only=False)
    return objects[codes]


def _datetime_column(values: pa.Array, column: Column, quarantine: Quarantine) -> np.ndarray[Any, Any]:
    """Nanoseconds since the epoch in UTC; times outside 1677 to 2262 are quarantined."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    years = pc.year(values)
    outside = pc.fill_null(pc.or_(pc.less(years, 1678), pc.greater(years, 2261)), False)
    rows = np.flatnonzero(outside.to_numpy(zero_copy_only=False))
    quarantine(rows, "input", f"too far away for nanoseconds: {column.name}")
    kept = pc.if_else(outside, pa.scalar(None, values.type), values)
    stamps: np.ndarray[Any, Any] = kept.cast(pa.timestamp("ns")).to_numpy(zero_copy_only=False)
    return stamps
