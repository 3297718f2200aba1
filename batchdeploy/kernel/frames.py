"""Converts a batch to the frame for the model, and tracks which rows are valid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from batchdeploy.core.records import Column
from batchdeploy.errors import shorten
from batchdeploy.kernel.numbers import to_floats, to_integers

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

Stage = Literal["input", "predict", "output"]
NUMPY_TYPES = {"integer": "int32", "long": "int64", "float": "float32", "double": "float64"}


@dataclass(slots=True)
class RowStatus:
    """Which rows of a batch are valid, and why the others are quarantined."""

    valid: np.ndarray[Any, Any]
    reasons: dict[int, tuple[Stage, str, str]] = field(default_factory=dict)

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
    import numpy as np
    import pyarrow as pa

    values = batch.column(column.name)
    if column.type in ("string", "binary"):
        return _objects(values)
    if isinstance(values.type, pa.DictionaryType):
        values = values.dictionary_decode()
    null = values.is_null().to_numpy(zero_copy_only=False)
    if column.type == "datetime":
        return _datetime_column(values, column, status)
    if column.type == "boolean":
        if not column.required:
            return values.to_numpy(zero_copy_only=False)
        status.quarantine(np.flatnonzero(null), "input", f"null in the required feature {column.name}")
        return values.fill_null(False).to_numpy(zero_copy_only=False)
    if column.type in ("integer", "long"):
        reason = f"null in the integer feature {column.name}"
        status.quarantine(np.flatnonzero(null), "input", reason)
        integers, lost = to_integers(values, NUMPY_TYPES[column.type])
        status.quarantine(lost, "input", f"no whole number that fits {column.type}: {column.name}")
        return integers.to_numpy(zero_copy_only=False)
    floats, lost = to_floats(values, NUMPY_TYPES[column.type])
    what = "too large for" if pa.types.is_integer(values.type) else "lost in the cast to"
    status.quarantine(lost, "input", f"{what} {column.type}: {column.name}")
    return floats


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


def _datetime_column(values: pa.Array, column: Column, status: RowStatus) -> np.ndarray[Any, Any]:
    """Nanoseconds since the epoch in UTC; times outside 1677 to 2262 are quarantined."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    years = pc.year(values)
    outside = pc.fill_null(pc.or_(pc.less(years, 1678), pc.greater(years, 2261)), False)
    rows = np.flatnonzero(outside.to_numpy(zero_copy_only=False))
    status.quarantine(rows, "input", f"too far away for nanoseconds: {column.name}")
    kept = pc.if_else(outside, pa.scalar(None, values.type), values)
    stamps: np.ndarray[Any, Any] = kept.cast(pa.timestamp("ns")).to_numpy(zero_copy_only=False)
    return stamps
