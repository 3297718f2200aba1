"""Converts predictions to Arrow columns: frames, series, lists and arrays, including masked arrays."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from batchdeploy.errors import Problem, ScoringRefused
from batchdeploy.kernel.refusals import refuse_answer
from batchdeploy.kernel.structs import struct_columns

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

LEAST_INTEGER, MOST_INTEGER = -(2**63), 2**64 - 1


def answer_columns(answer: Any) -> list[tuple[str | None, Any]]:
    """The columns of a model's predictions as (name, values); the name is None for unnamed columns.

    Raises:
        ScoringRefused: ``answer`` is not a frame, a series, a list, a dictionary, or an array of one or two
            dimensions.
    """
    import numpy as np
    import pandas as pd

    if (columns := struct_columns(answer)) is not None:
        return columns
    if isinstance(answer, pd.DataFrame):
        # NOTE: a frame built without column names (MLflow's PyTorch flavor) has the names 0, 1, 2.
        unnamed = answer.columns.equals(pd.RangeIndex(answer.shape[1]))
        return [
            (None if unnamed else str(name), answer.iloc[:, position])
            for position, name in enumerate(answer.columns)
        ]
    if isinstance(answer, pd.Series):
        return [(None, answer)]
    if isinstance(answer, (list, tuple)):
        answer = _stacked(answer)
    if isinstance(answer, np.ndarray) and not isinstance(answer, np.ma.MaskedArray):
        # NOTE: np.matrix is an ndarray whose columns are again two-dimensional.
        answer = np.asarray(answer)
    if isinstance(answer, np.ndarray) and answer.ndim == 1:
        return [(None, answer)]
    if isinstance(answer, np.ndarray) and answer.ndim == 2:
        return [(None, answer[:, position]) for position in range(answer.shape[1])]
    shape = getattr(answer, "shape", "")
    refuse_answer(
        "answer", "wanted a frame or an array of one or two dimensions", f"{type(answer).__name__}{shape}"
    )


def as_arrow(values: Any) -> tuple[pa.Array, np.ndarray[Any, Any]]:
    """One column as an Arrow array, and a mask of the rows that Arrow cannot represent.

    Arrow has no integers beyond 64 bits and no text with lone surrogates; these rows become null. Missing
    values (None, NA, NaT, NaN in an object column, masked) become null, too. NaN in a float column stays.

    Raises:
        ScoringRefused: values of mixed or unknown types.
    """
    import numpy as np

    unfit = np.zeros(len(values), dtype=bool)
    try:
        try:
            return _arrow(values), unfit
        except (OverflowError, UnicodeError):
            objects = np.array(values, dtype=object)
            unfit = np.array([_unfit(value) for value in objects], dtype=bool)
            objects[unfit] = None
            return _arrow(objects), unfit
    except (OverflowError, ValueError, TypeError, NotImplementedError) as error:
        raise ScoringRefused(
            "the model's answer", (Problem("values", "of mixed or unknown types", str(error)),)
        ) from error


def _stacked(answer: list[Any] | tuple[Any, ...]) -> Any:
    import numpy as np

    masked = any(isinstance(row, np.ma.MaskedArray) for row in answer)
    try:
        stacked = np.ma.array(answer) if masked else np.asarray(answer)
    except ValueError as error:
        refuse_answer("answer", "wanted rows of one length", str(error))
    # NOTE: in a list with text, NumPy converts NaN to the text "nan".
    return np.array(answer, dtype=object) if stacked.dtype.kind in "US" else stacked


def _arrow(values: Any) -> pa.Array:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    if isinstance(values, pd.Series):
        if not (isinstance(values.dtype, np.dtype) and values.dtype.kind in "fiubO"):
            array = pa.Array.from_pandas(values)
            if isinstance(array, pa.ChunkedArray):
                array = array.combine_chunks()
            return array.dictionary_decode() if isinstance(array.type, pa.DictionaryType) else array
        values = values.to_numpy()
    mask = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
    plain = np.ascontiguousarray(np.ma.getdata(values))
    if not plain.dtype.isnative:
        plain = plain.astype(plain.dtype.newbyteorder("="))
    if plain.dtype.kind == "O":
        plain, mask = _scalars(plain, mask), None
    return pa.array(plain, mask=mask, from_pandas=plain.dtype.kind not in "fiub")


def _scalars(values: np.ndarray[Any, Any], mask: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any]:
    """Checks the types of an object column, and returns it ready for Arrow.

    In a column that mixes types, Arrow truncates a float16 or longdouble of 1.5 to 1 beside an integer,
    converts booleans and complex numbers to numbers, and crashes on a NumPy datetime beside integers.

    Raises:
        TypeError: a value is no text, number, boolean or missing value, or booleans are mixed with numbers.
    """
    import numpy as np
    import pandas as pd

    if mask is not None:
        values = values.copy()
        values[mask] = None
    kinds = set(map(type, values))
    missing = (type(None), type(pd.NA), type(pd.NaT))
    booleans, halves = (bool, np.bool_), np.float16
    numbers = (int, float, Decimal, np.integer, np.float32, halves)
    for kind in kinds:
        if not issubclass(kind, (str, *missing, *booleans, *numbers)):
            raise TypeError(kind.__name__)
    if any(issubclass(kind, booleans) for kind in kinds):
        # NOTE: bool is a subclass of int. NaN is allowed, because it often marks a missing boolean.
        others = [v for v in values if isinstance(v, numbers) and not isinstance(v, booleans)]
        if not all(math.isnan(value) for value in others):
            raise TypeError("booleans beside numbers")
    if halves in kinds:
        values = np.array([float(v) if isinstance(v, halves) else v for v in values], dtype=object)
    return values


def _unfit(value: Any) -> bool:
    if isinstance(value, int):
        return not LEAST_INTEGER <= value <= MOST_INTEGER
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False
