"""Reads a model's signature: the columns, tensors and params that it takes, and the columns it returns."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

from batchdeploy.core.column_types import ELEMENTS, TENSOR_ELEMENTS, array_name
from batchdeploy.core.model_ref import InputSpec
from batchdeploy.core.records import Column, Returns, TensorInput
from batchdeploy.errors import Problem, RequestError

MAX_COLUMNS = 100_000
MAX_SHOWN = 3
UNNAMED_HINT = (
    "model: {input: {columns: [a, b, c]}} names a column for each value of a row, in the model's order, or "
    "the one column that holds a list of them"
)


class ModelColumns(NamedTuple):
    """The columns in a signature, with the deployment's columns in place of unnamed inputs.

    Attributes:
        inputs: the columns to read, each once.
        tensors: how the columns form tensors; empty if the model takes a frame.
        outputs: the columns of the predictions.
        returns: the kind of the predictions.
    """

    inputs: tuple[Column, ...]
    tensors: tuple[TensorInput, ...]
    outputs: tuple[Column, ...]
    returns: Returns


def read_signature(signature: Any, spec: InputSpec | None, where: str) -> ModelColumns:
    """The columns that a model takes and returns.

    Args:
        signature: MLflow's, or None.
        spec: the deployment's ``model.input``.
        where: the model, for messages.

    Raises:
        RequestError: there is no signature, or it does not say which columns fill it and ``spec`` does not
            either; the hint has the line to write.
    """
    if signature is None or signature.inputs is None:
        raise RequestError(
            f"model {where}",
            "has no signature, so its inputs cannot be checked",
            hint="log it again with signature=mlflow.models.infer_signature(inputs, outputs)",
        )
    if signature.inputs.is_tensor_spec():
        inputs, tensors = _tensor_inputs(signature.inputs.inputs, spec or InputSpec(), where)
    else:
        inputs, tensors = _column_inputs(signature.inputs.inputs, spec, where), ()
    return ModelColumns(inputs, tensors, *_outputs(signature.outputs, where))


def _column_inputs(specs: Any, spec: InputSpec | None, where: str) -> tuple[Column, ...]:
    names = [found.name for found in specs]
    if None in names:
        given = spec.columns if spec and spec.columns else ()
        if len(given) != len(specs):
            problem = Problem("model.input", f"the signature's {len(specs)} columns have no names", None)
            raise RequestError(f"model {where}", (problem,), hint=UNNAMED_HINT)
        names = list(given)
    elif spec is not None:
        text = "the signature names the model's columns already; leave it out"
        raise RequestError(f"model {where}", (Problem("model.input", text, _shown(names)),))
    return tuple(
        Column(name=str(name), type=type_name(found.type), required=bool(found.required))
        for name, found in zip(names, specs, strict=True)
    )


def _tensor_inputs(
    specs: Any, spec: InputSpec, where: str
) -> tuple[tuple[Column, ...], tuple[TensorInput, ...]]:
    problems: list[Problem] = []
    tensors = []
    types: dict[str, str] = {}
    mapping = spec.tensors or {}
    known = [str(found.name) for found in specs if found.name is not None]
    for name in mapping:
        if name not in known:
            got = f"its tensors are {_shown(known)}" if known else "its only tensor has no name; use columns"
            problems.append(Problem(f"model.input.tensors.{name}", f"the model has no such tensor: {got}"))
    if spec.columns is not None and len(specs) > 1:
        text = f"the model takes {len(specs)} tensors; name the columns of each under model.input.tensors"
        problems.append(Problem("model.input.columns", text, _shown(known)))
    for found in specs:
        path, columns = _columns_of(found, spec)
        if columns is None:
            raise RequestError(f"model {where}", (*problems, _unnamed(found)), hint=UNNAMED_HINT)
        shape = tuple(int(length) for length in found.shape)
        problem = _tensor_problem(path, found, shape) or _width_problem(path, shape, columns)
        if problem is not None:
            problems.append(problem)
            continue
        tensors.append(TensorInput(name=found.name, dtype=_dtype(found), shape=shape[1:], columns=columns))
        problems += _add_types(types, path, columns, _types(found, shape, columns))
    if problems:
        raise RequestError(f"model {where}", tuple(problems))
    return tuple(Column(name=name, type=kind) for name, kind in types.items()), tuple(tensors)


def _columns_of(found: Any, spec: InputSpec) -> tuple[str, tuple[str, ...] | None]:
    """The key of the deployment that names a tensor's columns, and those columns."""
    if spec.columns is not None:
        return "model.input.columns", spec.columns
    if found.name is None:
        return "model.input.columns", None
    path = f"model.input.tensors.{found.name}"
    return path, (spec.tensors or {}).get(str(found.name), (str(found.name),))


def _unnamed(found: Any) -> Problem:
    text = (
        f"the model takes a tensor of {_dtype(found)} and shape {tuple(found.shape)}, which names no columns"
    )
    return Problem("model.input", text)


def _dtype(found: Any) -> str:
    return "str" if found.type.kind in "US" else str(found.type)


def _tensor_problem(path: str, found: Any, shape: tuple[int, ...]) -> Problem | None:
    if _dtype(found) not in TENSOR_ELEMENTS:
        taken = ", ".join(name for name in TENSOR_ELEMENTS if name != "object")
        return Problem(
            path, f"a tensor of this type cannot be filled from columns ({taken} can)", _dtype(found)
        )
    if not shape or shape[0] != -1:
        text = (
            "the tensor has a fixed number of rows; log the model with a signature whose shape begins with -1"
        )
        return Problem(path, text, str(shape))
    if any(length < 1 for length in shape[1:]):
        text = "rows of the tensor have no fixed shape; log the model with a signature that says it"
        return Problem(path, text, str(shape))
    return None


def _width_problem(path: str, shape: tuple[int, ...], columns: tuple[str, ...]) -> Problem | None:
    size = prod(shape[1:])
    if size > MAX_COLUMNS and len(columns) > 1:
        return Problem(path, f"more than {MAX_COLUMNS:,} columns", str(size))
    if len(columns) in (1, size):
        return None
    return Problem(
        path, f"the tensor takes {size} values a row, or one column of lists", f"{len(columns)} columns"
    )


def _types(found: Any, shape: tuple[int, ...], columns: tuple[str, ...]) -> str:
    element, size = TENSOR_ELEMENTS[_dtype(found)], prod(shape[1:])
    return element if len(columns) == size else array_name(element, size)


def _add_types(types: dict[str, str], path: str, columns: tuple[str, ...], kind: str) -> Iterator[Problem]:
    for name in columns:
        if types.setdefault(name, kind) != kind:
            yield Problem(path, f"{name} is {types[name]} in another tensor, and {kind} in this one")


def _outputs(schema: Any, where: str) -> tuple[tuple[Column, ...], Returns]:
    if schema is None:
        return (), "unknown"
    specs = schema.inputs
    if not schema.is_tensor_spec():
        if not all(_is_plain(spec.type) for spec in specs):
            return tuple(column for spec in specs for column in _fields(spec.name, spec.type)), "struct"
        named = all(spec.name is not None for spec in specs)
        columns = (
            Column(name=str(spec.name if named else place), type=type_name(spec.type))
            for place, spec in enumerate(specs)
        )
        return tuple(columns), "frame" if named else "array"
    widths = [spec.shape[1] if len(spec.shape) > 1 else 1 for spec in specs]
    if any(width < 0 for width in widths):
        return (), "unknown"
    if sum(widths) > MAX_COLUMNS:
        raise RequestError(f"model {where}", (Problem("outputs", "are too many", str(sum(widths))),))
    if len(specs) == 1:
        return tuple(Column(name=str(i), type=str(specs[0].type)) for i in range(widths[0])), "array"
    return tuple(
        Column(name=f"{spec.name}.{i}" if width > 1 else str(spec.name), type=str(spec.type))
        for spec, width in zip(specs, widths, strict=True)
        for i in range(width)
    ), "struct"


def _fields(name: str | None, kind: Any) -> Iterator[Column]:
    """The fields of a struct by dotted names; a list or a map is one column of its own type."""
    from mlflow.types.schema import Object

    if isinstance(kind, Object):
        for field in kind.properties:
            yield from _fields(field.name if name is None else f"{name}.{field.name}", field.dtype)
    else:
        yield Column(name="0" if name is None else name, type=type_name(kind))


def _is_plain(kind: Any) -> bool:
    from mlflow.types import DataType

    return isinstance(kind, DataType)


def type_name(kind: Any) -> str:
    """The name of an MLflow type: ``double``, ``Array(double)``, or its own text for the other kinds."""
    from mlflow.types import DataType
    from mlflow.types.schema import Array

    if isinstance(kind, DataType):
        return str(kind.name)
    # NOTE: SparkMLVector is a subclass of Array, and is no list.
    if type(kind) is Array and isinstance(kind.dtype, DataType) and kind.dtype.name in ELEMENTS:
        return array_name(kind.dtype.name)
    return f"{type(kind).__name__} {kind!r}"


def _shown(names: list[Any]) -> str:
    more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return ", ".join(map(str, names[:MAX_SHOWN])) + more
