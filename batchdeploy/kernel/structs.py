"""Reads predictions that contain structs: dictionaries by row or column, with fields by dotted names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from batchdeploy.core.deployment import OutputColumn
from batchdeploy.kernel.refusals import refuse_answer

if TYPE_CHECKING:
    import numpy as np

Columns = list[tuple[str | None, Any]]
SHOWN_FIELDS = 10
NOTHING = object()


def struct_columns(answer: Any) -> Columns | None:
    """The columns of predictions that are dictionaries; None for predictions of another kind.

    Args:
        answer: a dictionary of columns (an array for each output of a network), or a list, an array or a
            series with a dictionary for each row. A field that only some rows have is None in the others.
    """
    import numpy as np
    import pandas as pd

    if isinstance(answer, Mapping):
        columns: Columns = [(str(name), _column(values)) for name, values in answer.items()]
        if single := [str(name) for name, values in columns if getattr(values, "ndim", 1) == 0]:
            refuse_answer("answer", "wanted an array with a value for each row", ", ".join(single))
        return columns
    listed = isinstance(answer, (list, tuple, pd.Series))
    if not listed and not (isinstance(answer, np.ndarray) and answer.ndim == 1 and answer.dtype == object):
        return None
    rows = list(answer)
    if not any(isinstance(row, Mapping) for row in rows):
        return None
    if not all(isinstance(row, Mapping) or row is None for row in rows):
        kinds = sorted({type(row).__name__ for row in rows})
        refuse_answer("answer", "wanted a dictionary for each row", ", ".join(kinds))
    fields = dict.fromkeys(field for row in rows if row is not None for field in row)
    return [
        (str(field), _objects([None if row is None else row.get(field) for row in rows])) for field in fields
    ]


def has_path(columns: Columns, outputs: Sequence[tuple[str, OutputColumn]]) -> bool:
    """Whether an output is declared by the dotted name of a field, and not by a column's own name."""
    names = {name for name, _ in columns}
    sources = [str(name if column.select is None else column.select) for name, column in outputs]
    return any("." in source and source not in names for source in sources)


def select_path(columns: Columns, name: str, column: OutputColumn, *, promised: bool) -> Any:
    """The values of the field that an output names, None for rows without it.

    Args:
        columns: the columns of the predictions.
        name: the output's name.
        column: the output's declaration.
        promised: whether the signature has the field; a batch in which no row has it is then no mistake.

    Raises:
        ScoringRefused: there is no such column, or there are structs and none of them has the field.
    """
    source = name if column.select is None else str(column.select)
    found = {title: values for title, values in columns if title is not None}
    empty = False
    # NOTE: a column's name may contain dots, so the longest matching name is used.
    for title in sorted(found, key=len, reverse=True):
        if source == title:
            return found[title]
        if source.startswith(f"{title}."):
            values = [_step(value, source.removeprefix(f"{title}.").split(".")) for value in found[title]]
            if any(value is not NOTHING for value in values):
                return _objects([None if value is NOTHING else value for value in values])
            empty = empty or promised or all(value is None for value in found[title])
    if empty:
        return _objects([None] * len(columns[0][1]))
    refuse_answer(f"output {name}", f"no row has the field {source}", ", ".join(_offered(found)))


def _step(value: Any, parts: Sequence[str]) -> Any:
    for place, part in enumerate(parts):
        if isinstance(value, Mapping):
            # NOTE: a field's name may contain dots, and class names may be numbers.
            rest = ".".join(parts[place:])
            known = {str(field): inner for field, inner in value.items()}
            if rest in known:
                return known[rest]
            value = known.get(part, NOTHING)
        elif part.isdecimal() and hasattr(value, "__getitem__") and not isinstance(value, (str, bytes)):
            value = value[int(part)] if int(part) < len(value) else NOTHING
        else:
            return NOTHING
    return value


def _offered(columns: Mapping[str, Any]) -> list[str]:
    names: list[str] = []
    for title, values in columns.items():
        first = next((value for value in values if value is not None), None)
        names += [f"{title}.{field}" for field in first] if isinstance(first, Mapping) else [title]
    return [*names[:SHOWN_FIELDS], *(["…"] if len(names) > SHOWN_FIELDS else [])]


def _column(values: Any) -> Any:
    """The values of one output of a network; those of shape (rows, 1) are one column."""
    import numpy as np
    import pandas as pd

    if isinstance(values, (list, tuple)):
        return _objects(list(values))
    # NOTE: np.asarray would drop the mask of a masked array.
    array = values if isinstance(values, (np.ndarray, pd.Series)) else np.asarray(values)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _objects(values: list[Any]) -> np.ndarray[Any, Any]:
    import numpy as np

    column = np.empty(len(values), dtype=object)
    # NOTE: assigned at once, lists of one length would become a second dimension.
    for row, value in enumerate(values):
        column[row] = value
    return column
