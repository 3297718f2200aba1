"""Names of list types in a model's signature and in a data schema."""

from __future__ import annotations

import re
from typing import NamedTuple

ARRAY = re.compile(r"Array\((\w+)\)(?:\[(\d+)\])?")
LIST = re.compile(r"(?:large_)?list(?:_view)?<.*?: (.+)>|fixed_size_list<.*?: (.+)>\[(\d+)\]")
ELEMENTS = ("boolean", "integer", "long", "float", "double", "string")
# Types of a tensor's values by NumPy's names; a column type of the same name where MLflow has none.
TENSOR_ELEMENTS = {
    "bool": "boolean",
    "int32": "integer",
    "int64": "long",
    "float32": "float",
    "float64": "double",
    "object": "string",
    "str": "string",
    **{name: name for name in ("int8", "int16", "uint8", "uint16", "uint32", "uint64")},
}


class ArrayType(NamedTuple):
    """The type of a feature that is a list: the type of its elements, and how many there are, if fixed."""

    element: str
    size: int | None


def array_name(element: str, size: int | None = None) -> str:
    """The name of an array type: ``Array(double)`` or ``Array(float)[12]``."""
    return f"Array({element})" + ("" if size is None else f"[{size}]")


def array_type(name: str) -> ArrayType | None:
    """The array type of a feature's type name, or None for another type."""
    found = ARRAY.fullmatch(name)
    return None if found is None else ArrayType(found[1], int(found[2]) if found[2] else None)


def list_type(name: str) -> ArrayType | None:
    """The elements of Arrow's list types, nested lists flattened; None for another type.

    The size is that of all levels together, if each of them is fixed.
    """
    found = LIST.fullmatch(name)
    if found is None:
        return None
    element = (found[1] or found[2]).removesuffix(" not null")
    size = int(found[3]) if found[3] else None
    if (inner := list_type(element)) is not None:
        return ArrayType(inner.element, size * inner.size if size and inner.size else None)
    return ArrayType(element, size)
