"""Encodes categories once per distinct value of a batch instead of once per row.

A fitted OrdinalEncoder or TargetEncoder maps a value to the same number in every row of a column. So the
encoder transforms only the distinct values, and the rows get their numbers by index.
"""

from __future__ import annotations

import copy
from typing import Any

from batchdeploy.redaction import logger

LOG = logger(__name__)
ENCODERS = ("OrdinalEncoder", "TargetEncoder")
# With fewer rows per distinct value, little would be saved.
ROWS_A_VALUE = 8


class EstimatorProxy:
    """Replaces a fitted step of a scikit-learn model, and forwards all other attributes to it."""

    def __init__(self, fitted: Any) -> None:
        self._fitted = fitted

    def __getattr__(self, name: str) -> Any:
        if "_fitted" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.__dict__["_fitted"], name)

    def __sklearn_is_fitted__(self) -> bool:
        return True


def last_step(model: Any) -> Any:
    """The last step of a fitted pipeline; any other model itself."""
    return model.steps[-1][1] if hasattr(model, "steps") else model


def with_cached_encoders(model: Any) -> Any:
    """A copy of the model with cached encoders in its pipelines and column transformers.

    Returns the model itself if it has no encoder.
    """
    if not type(model).__module__.startswith("sklearn."):
        return model
    kind = type(model).__name__
    if kind in ENCODERS:
        return CachedEncoder(model)
    if kind not in ("Pipeline", "ColumnTransformer"):
        return model
    name = "steps" if kind == "Pipeline" else "transformers_"
    before = getattr(model, name)
    after = [(label, with_cached_encoders(step), *columns) for label, step, *columns in before]
    if all(new[1] is old[1] for new, old in zip(after, before, strict=True)):
        return model
    model = copy.copy(model)
    setattr(model, name, after)
    return model


class CachedEncoder(EstimatorProxy):
    """Replaces a fitted encoder. Its first result must equal the encoder's exactly, or it stops caching."""

    def __init__(self, fitted: Any) -> None:
        super().__init__(fitted)
        self._proved: bool | None = None

    def transform(self, rows: Any) -> Any:
        """The encoded rows, of shape (rows, columns)."""
        answer = None if self._proved is False else self._looked_up(rows)
        if answer is None:
            return self._fitted.transform(rows)
        if self._proved is None:
            import numpy as np

            wanted = self._fitted.transform(rows)
            self._proved = wanted.dtype == answer.dtype and np.array_equal(wanted, answer, equal_nan=True)
            if not self._proved:
                LOG.warning(
                    "%s is not cached: its result depends on more than the value",
                    type(self._fitted).__name__,
                )
            return wanted
        return answer

    def _looked_up(self, rows: Any) -> Any:
        import numpy as np

        found = [_distinct(column) for column in _columns(rows)]
        most = max((len(values) for _, values in found if values is not None), default=0)
        if not found or not 0 < most <= len(rows) // ROWS_A_VALUE or any(v is None for _, v in found):
            return None
        # The encoder takes columns of equal length; the padding is not used.
        filled = [values[np.minimum(np.arange(most), len(values) - 1)] for _, values in found]
        encoded = self._fitted.transform(_like(rows, filled))
        if not isinstance(encoded, np.ndarray) or encoded.shape[1] != len(found):
            return None
        answer = np.empty((len(rows), len(found)), dtype=encoded.dtype)
        for place, (codes, _) in enumerate(found):
            answer[:, place] = encoded[codes, place]
        return answer


def _columns(rows: Any) -> list[Any]:
    import numpy as np
    import pandas as pd

    if isinstance(rows, pd.DataFrame):
        plain = [isinstance(kind, np.dtype) and kind.kind in "Oifb" for kind in rows.dtypes]
        return [rows.iloc[:, place].to_numpy() if ok else None for place, ok in enumerate(plain)]
    if isinstance(rows, np.ndarray) and rows.ndim == 2:
        return list(rows.T)
    return []


def _distinct(column: Any) -> tuple[Any, Any]:
    """The rows' codes and the distinct values; None for both if values cannot be distinguished safely."""
    import numpy as np
    import pandas as pd

    if column is None:
        return None, None
    codes, values = pd.factorize(column, use_na_sentinel=False)
    if column.dtype == object:
        # NOTE: pandas treats None and NaN as one value, encoders do not.
        missing = np.flatnonzero(pd.isna(values))
        if len(missing):
            if set(map(type, column[codes == missing[0]])) != {type(None)}:
                return None, None
            values = values.astype(object)
            values[missing] = None
    return codes, values


def _like(rows: Any, columns: list[Any]) -> Any:
    """These columns as a batch with the type, dtypes and names of ``rows``."""
    import numpy as np
    import pandas as pd

    if isinstance(rows, pd.DataFrame):
        typed = zip(columns, rows.dtypes, strict=True)
        frame = pd.concat([pd.Series(values, dtype=kind) for values, kind in typed], axis=1)
        frame.columns = rows.columns
        return frame
    return np.column_stack(columns).astype(rows.dtype)
