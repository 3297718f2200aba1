"""Families of Arrow types by name, for checks of a schema that has no Arrow in it."""

from __future__ import annotations

INTEGERS = {f"{sign}int{bits}": bits for sign in ("", "u") for bits in (8, 16, 32, 64)}
FLOATS = {"halffloat": 16, "float": 32, "double": 64}
DECIMALS = {f"decimal{bits}" for bits in (32, 64, 128, 256)}
STRINGS = {"string", "large_string", "string_view"}
DATES = {"date32", "date64"}


def arrow_family(type_name: str) -> str:
    """An Arrow type's name without its parameters: ``timestamp`` for ``timestamp[us, tz=UTC]``.

    For a dictionary-encoded column it is the type of its values, because readers see those.
    """
    if type_name.startswith("dictionary<values="):
        type_name = type_name.removeprefix("dictionary<values=").split(",", 1)[0]
    return type_name.split("[", 1)[0].split("(", 1)[0]
