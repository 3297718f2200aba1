"""Picks the declared outputs from predictions by position or name, and casts them losslessly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from batchdeploy.core.deployment import OutputColumn
from batchdeploy.core.output_checks import output_line
from batchdeploy.core.records import Returns
from batchdeploy.kernel.answers import answer_columns, as_arrow
from batchdeploy.kernel.refusals import refuse_answer
from batchdeploy.kernel.structs import has_path, select_path
from batchdeploy.kernel.text import escape_invalid_utf8

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

Bad = tuple[str, "np.ndarray[Any, Any]"]
SHOWN_ROWS = 5


def arrow_type(name: str) -> pa.DataType:
    """The Arrow type of a declared output."""
    import pyarrow as pa

    types = {
        "double": pa.float64(),
        "float": pa.float32(),
        "long": pa.int64(),
        "integer": pa.int32(),
        "boolean": pa.bool_(),
        "string": pa.string(),
    }
    return types[name]


def pick_outputs(
    answer: Any, outputs: Sequence[tuple[str, OutputColumn]], rows: int, *, returns: Returns = "unknown"
) -> list[Any]:
    """The values of the declared outputs, each of length ``rows``, in declared order.

    Args:
        answer: the predictions: a frame, a series, a list, a dictionary of columns, a dictionary for each
            row, or an array of shape (rows,) or (rows, columns).
        outputs: name and declaration of each output.
        rows: the number of rows that the model was given.
        returns: what the model's signature says about its predictions. The columns of an ``array`` have no
            names, so a single column may have any name, as with ONNX models.

    Raises:
        ScoringRefused: another number of rows, rows in another order, or missing, extra, doubled or reordered
            columns.
    """
    if returns == "array" and isinstance(answer, dict) and len(answer) == 1:
        # The only output of a network, which MLflow's flavors for them return by its name.
        (answer,) = answer.values()
    columns = answer_columns(answer)
    lengths = {len(values) for _, values in columns}
    if lengths != {rows}:
        refuse_answer("rows", f"{rows} rows in", f"{', '.join(map(str, sorted(lengths)))} rows out")
    _check_index(answer, rows)
    names = [name for name, _ in columns]
    if doubled := [name for name, times in Counter(names).items() if name is not None and times > 1]:
        refuse_answer("columns", "more than one of a name", ", ".join(doubled))
    if returns == "struct" or has_path(columns, outputs):
        return [
            _select(columns, name, column)
            if isinstance(column.select, int)
            else select_path(columns, name, column, promised=returns == "struct")
            for name, column in outputs
        ]
    if any(column.select is not None for _, column in outputs):
        return [_select(columns, name, column) for name, column in outputs]
    if returns != "array" or len(names) != 1:
        _check_names(names, outputs, returns)
    elif len(outputs) != 1:
        _refuse_names(names, outputs, returns)
    return [values for _, values in columns]


def _check_names(
    names: Sequence[str | None], outputs: Sequence[tuple[str, OutputColumn]], returns: Returns
) -> None:
    declared = [name for name, _ in outputs]
    if len(names) != len(declared) or any(
        found is not None and found != name for found, name in zip(names, declared, strict=False)
    ):
        _refuse_names(names, outputs, returns)


def _refuse_names(
    names: Sequence[str | None], outputs: Sequence[tuple[str, OutputColumn]], returns: Returns
) -> NoReturn:
    """Raises ScoringRefused, with the YAML that would pick the declared outputs from these columns."""
    declared, positions = [name for name, _ in outputs], returns == "array" or None in names
    lines = [
        output_line(name, column, place if positions else name if name in names else str(names[place]))
        for place, (name, column) in enumerate(outputs[: len(names)])
    ]
    refuse_answer(
        "columns",
        f"declared are {', '.join(declared)}",
        ", ".join(str(name) for name in names),
        hint=f"output.columns: {{{', '.join(lines)}}} would pick them",
    )


def _check_index(answer: Any, rows: int) -> None:
    """Refuses a changed index: predictions are matched to rows by position."""
    import pandas as pd

    if isinstance(answer, Mapping):
        for values in answer.values():
            _check_index(values, rows)
    if not isinstance(answer, (pd.DataFrame, pd.Series)) or answer.index.equals(pd.RangeIndex(rows)):
        return
    first = ", ".join(map(str, answer.index[:SHOWN_ROWS]))
    refuse_answer(
        "index",
        f"is not the input's, which counts from 0 to {rows - 1}; scores would be put on other keys",
        first if rows <= SHOWN_ROWS else f"{first}, …",
        hint="return the rows in the order of the input: .sort_index(), or .to_numpy() where the order "
        "is right and the index is not",
    )


def convert_output(name: str, declared: str, values: Any) -> tuple[pa.Array, list[Bad]]:
    """One output in its declared type, and the rows (positions, with a reason) without a valid value.

    Not valid are missing values, NaN, infinity, and for an integer a fraction or an overflow. Their value is
    null in the result.

    Raises:
        ScoringRefused: the values have an incompatible type, such as text for a number.
    """
    import numpy as np

    array, unfit = as_arrow(values)
    missing = array.is_null().to_numpy(zero_copy_only=False) & ~unfit
    bad = [
        (f"{name} is missing", np.flatnonzero(missing)),
        (f"{name} is no valid text, or needs more than 64 bits", np.flatnonzero(unfit)),
    ]
    typed, more = _typed(name, declared, array)
    return typed, [(reason, rows) for reason, rows in (*bad, *more) if len(rows)]


def _typed(name: str, declared: str, array: pa.Array) -> tuple[pa.Array, list[Bad]]:
    import pyarrow as pa

    kind = array.type
    if pa.types.is_null(kind):
        return array.cast(arrow_type(declared)), []
    if declared == "string" and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return _from_texts(name, array)
    if declared == "boolean" and pa.types.is_boolean(kind):
        return array, []
    if declared in ("double", "float", "long", "integer"):
        if pa.types.is_floating(kind):
            return _from_floats(name, declared, array)
        if pa.types.is_integer(kind):
            return _from_integers(name, declared, array)
    refuse_answer(f"output {name}", f"declared {declared}", str(kind))


def _from_texts(name: str, array: pa.Array) -> tuple[pa.Array, list[Bad]]:
    import numpy as np
    import pyarrow as pa

    try:
        texts, spoilt = escape_invalid_utf8(array.cast(pa.string()))
    except pa.ArrowInvalid as error:
        # More than 2 GiB; a smaller batch may fit.
        raise MemoryError(str(error)) from error
    return texts, [] if spoilt is None else [(f"{name} is not UTF-8", np.flatnonzero(spoilt))]


def _from_floats(name: str, declared: str, array: pa.Array) -> tuple[pa.Array, list[Bad]]:
    import numpy as np
    import pyarrow as pa

    null = array.is_null().to_numpy(zero_copy_only=False)
    values = array.cast(pa.float64()).to_numpy(zero_copy_only=False)
    unreal = ~np.isfinite(values) & ~null
    bad = [(f"{name} is NaN or infinite", np.flatnonzero(unreal))]
    out = arrow_type(declared)
    if declared in ("double", "float"):
        with np.errstate(over="ignore"):
            narrow = values.astype(out.to_pandas_dtype())
        over = np.isinf(narrow) & ~unreal & ~null
        bad.append((f"{name} overflows {declared}", np.flatnonzero(over)))
        return pa.array(narrow, out, mask=null | unreal | over), bad
    whole = np.where(unreal | null, 0.0, values)
    limits = np.iinfo(out.to_pandas_dtype())
    # NOTE: float(2**63 - 1) rounds up to 2**63, which no longer fits; hence "<" on the upper side.
    fits = (whole == np.trunc(whole)) & (whole >= limits.min) & (whole < float(limits.max) + 1)
    bad.append((f"{name} is not a whole number that fits {declared}", np.flatnonzero(~fits)))
    integers = np.where(fits, whole, 0).astype(out.to_pandas_dtype())
    return pa.array(integers, out, mask=null | unreal | ~fits), bad


def _from_integers(name: str, declared: str, array: pa.Array) -> tuple[pa.Array, list[Bad]]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    out = arrow_type(declared)
    cast = array.cast(out, safe=False)
    changed = pc.fill_null(pc.not_equal(cast.cast(array.type, safe=False), array), False)
    if pa.types.is_uint64(array.type) and out == pa.int64():
        changed = pc.or_(changed, pc.fill_null(pc.less(cast, 0), False))
    lost = changed.to_numpy(zero_copy_only=False)
    bad = [(f"{name} overflows {declared}", np.flatnonzero(lost))]
    return pc.if_else(pa.array(~lost), cast, pa.scalar(None, out)), bad


def _select(columns: list[tuple[str | None, Any]], name: str, column: OutputColumn) -> Any:
    source = name if column.select is None else column.select
    if isinstance(column.select, int) and 0 <= column.select < len(columns):
        return columns[column.select][1]
    for position, (found, values) in enumerate(columns):
        if (str(position) if found is None else found) == source:
            return values
    refuse_answer(
        f"output {name}", f"select: {column.select!r}", f"{len(columns)} columns, {[c for c, _ in columns]}"
    )
