"""What a model gives back, as columns of Arrow: frames, series, lists and arrays, masked ones too."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

from batchdeploy.errors import Problem, ScoringRefused

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

LEAST_INTEGER, MOST_INTEGER = -(2**63), 2**64 - 1


def answer_columns(answer: Any) -> list[tuple[str | None, Any]]:
    """The answer's columns with their names, or None for those that have positions only.

    Raises:
        ScoringRefused: it is neither a frame nor a series, a list or an array of one or two dimensions.
    """
    import numpy as np
    import pandas as pd

    if isinstance(answer, pd.DataFrame):
        # NOTE: a frame whose maker gave its columns no names (PyTorch's answers, say) counts them.
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
        # NOTE: a column of a matrix, which is an array too, would be a matrix again.
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
    """One column as Arrow, and which rows hold what Arrow cannot: integers beyond 64 bits, half surrogates.

    What is missing (None, NaN among objects, NA, NaT, masked) is null, and so are the rows that do not fit.
    NaN in a column of floats stays NaN.

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


def refuse_answer(path: str, problem: str, got: str, *, hint: str | None = None) -> NoReturn:
    """Refuses an answer for one thing that is wrong with it."""
    raise ScoringRefused("the model's answer", (Problem(path, problem, got),), hint=hint)


def _stacked(answer: list[Any] | tuple[Any, ...]) -> Any:
    import numpy as np

    masked = any(isinstance(row, np.ma.MaskedArray) for row in answer)
    try:
        stacked = np.ma.array(answer) if masked else np.asarray(answer)
    except ValueError as error:
        refuse_answer("answer", "wanted rows of one length", str(error))
    # NOTE: NumPy makes the text "nan" of a NaN that stands beside text.
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
    """Objects, once it is known that they are texts, numbers or booleans, or missing.

    Arrow makes 1 of a half or a long float of 1.5 that stands beside an integer, and numbers of booleans and
    complex numbers; a date of NumPy's beside integers ends the process.

    Raises:
        TypeError: they are something else, or booleans beside numbers.
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
        # NOTE: bool is a kind of int, and NaN is what many call a missing boolean.
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
