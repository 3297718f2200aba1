"""Texts as values of another type, and null where they are none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def parse_texts(values: pa.Array, kind: pa.DataType, pattern: str | None = None) -> pa.Array:
    """Texts as another type; null where they do not match the pattern, or Arrow cannot read them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pattern is not None:
        fits = pc.match_substring_regex(values, pattern)
        values = pc.if_else(fits, values, pa.scalar(None, values.type))
    try:
        return values.cast(kind)
    except pa.ArrowInvalid:
        # Each distinct text is tried once, because Arrow fails on the first that it cannot read.
        coded = values.dictionary_encode()
        known = pa.array([_parse_one(text, kind) for text in coded.dictionary], kind)
        return known.take(coded.indices)


def _parse_one(text: Any, kind: pa.DataType) -> Any:
    import pyarrow as pa

    try:
        return text.cast(kind).as_py()
    except pa.ArrowInvalid:
        return None
