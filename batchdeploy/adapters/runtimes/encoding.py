"""Categories encoded once for each distinct value of a batch, and not once for each row.

A fitted OrdinalEncoder or TargetEncoder gives a value of a column the same number in whatever row it stands.
So the encoder itself is asked, about the few values that there are, and the rows look their numbers up.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pandas as pd

from batchdeploy.adapters.runtimes.step import Step

ENCODERS = ("OrdinalEncoder", "TargetEncoder")
# NOTE: where more than one of so many rows has a value of its own, little would be saved.
ROWS_A_VALUE = 8


def encoding_once(model: Any) -> Any:
    """The fitted model with its encoders replaced, in pipelines and column transformers."""
    kind = type(model).__name__
    if not type(model).__module__.startswith("sklearn."):
        return model
    if kind in ENCODERS:
        return Distinct(model)
    if kind == "Pipeline":
        model = copy.copy(model)
        model.steps = [(name, encoding_once(step)) for name, step in model.steps]
    elif kind == "ColumnTransformer":
        model = copy.copy(model)
        model.transformers_ = [
            (name, encoding_once(step), columns) for name, step, columns in model.transformers_
        ]
    return model


class Distinct(Step):
    """Stands where a fitted encoder stood."""

    def transform(self, rows: Any) -> Any:
        """The encoder's own answer, of shape (rows, columns)."""
        found = [_distinct(column) for column in _columns(rows)]
        most = max((len(values) for _, values in found if values is not None), default=0)
        if not found or not 0 < most <= len(rows) // ROWS_A_VALUE or any(v is None for _, v in found):
            return self._fitted.transform(rows)
        # NOTE: columns of one length, as the encoder takes them; what fills them up is not looked at.
        filled = [values[np.minimum(np.arange(most), len(values) - 1)] for _, values in found]
        asked = self._fitted.transform(_like(rows, filled))
        if not isinstance(asked, np.ndarray) or asked.shape[1] != len(found):
            return self._fitted.transform(rows)
        answer = np.empty((len(rows), len(found)), dtype=asked.dtype)
        for place, (codes, _) in enumerate(found):
            answer[:, place] = asked[codes, place]
        return answer


def _columns(rows: Any) -> list[Any]:
    if isinstance(rows, pd.DataFrame):
        return [
            rows.iloc[:, place].to_numpy() if _plain(kind) else None for place, kind in enumerate(rows.dtypes)
        ]
    if isinstance(rows, np.ndarray) and rows.ndim == 2:
        return list(rows.T)
    return []


def _plain(kind: Any) -> bool:
    return isinstance(kind, np.dtype) and kind.kind in "Oifb"


def _distinct(column: Any) -> tuple[Any, Any]:
    """Which of the distinct values each row has, and those values; None where they cannot be told."""
    if column is None:
        return None, None
    codes, values = pd.factorize(column, use_na_sentinel=False)
    if column.dtype == object:
        # NOTE: pandas takes None and NaN for one value, encoders do not.
        missing = np.flatnonzero(pd.isna(values))
        if len(missing):
            stand = set(map(type, column[codes == missing[0]]))
            if stand != {type(None)}:
                return None, None
            values = values.astype(object)
            values[missing] = None
    return codes, values


def _like(rows: Any, columns: list[Any]) -> Any:
    """A batch of these columns, typed and named as the rows are."""
    if isinstance(rows, pd.DataFrame):
        kinds = list(rows.dtypes)
        frame = pd.concat(
            [pd.Series(values, dtype=kind) for values, kind in zip(columns, kinds, strict=True)], axis=1
        )
        frame.columns = rows.columns
        return frame
    return np.column_stack(columns).astype(rows.dtype)
