"""Normalises columns on reading: plain types, valid UTF-8, timestamps in microseconds."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from batchdeploy.kernel.text import escape_invalid_utf8

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

MAX_BYTES = 1 << 30
# What a mask says of a column: its text is not UTF-8, or its time would lose a part of itself.
Masks = dict[str, "np.ndarray[Any, Any]"]


def value_type(kind: pa.DataType) -> pa.DataType:
    """The type of the values, however they are encoded: writers mix these freely."""
    import pyarrow as pa

    if isinstance(kind, pa.DictionaryType):
        kind = kind.value_type
    texts = {pa.large_string(): pa.string(), pa.string_view(): pa.string()}
    return {pa.large_binary(): pa.binary(), pa.binary_view(): pa.binary(), **texts}.get(kind, kind)


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The columns with the types of their values."""
    import pyarrow as pa

    return pa.schema([pa.field(field.name, value_type(field.type)) for field in schema])


def plain_batch(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Masks]:
    """Decodes every column to its `value_type`, so that all files of a run have one schema.

    Returns:
        The batch, and by column which rows hold text that is not UTF-8; that text is escaped.

    Raises:
        MemoryError: the values take more than Arrow can hold in a column; fewer rows may fit.
    """
    import pyarrow as pa

    schema, columns, invalid_text = plain_schema(batch.schema), [], {}
    for values, field in zip(batch.columns, schema, strict=True):
        plain = values if values.type == field.type else _decoded(values, field.type)
        if pa.types.is_string(field.type):
            plain, mask = escape_invalid_utf8(plain)
            if mask is not None:
                invalid_text[field.name] = mask
        columns.append(plain)
    return pa.RecordBatch.from_arrays(columns, schema=schema), invalid_text


def in_microseconds(batch: pa.RecordBatch, names: Collection[str]) -> tuple[pa.RecordBatch, Masks]:
    """Casts those of these columns that are timestamps to microseconds, which every reader supports.

    Returns:
        The batch, and by column a mask of the rows that lost precision.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    changed: Masks = {}
    for place, field in enumerate(batch.schema):
        if field.name in names and pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            values, kind = batch.column(place), pa.timestamp("us", tz=field.type.tz)
            cast = values.cast(kind, safe=False)
            finer = pc.fill_null(pc.not_equal(cast.cast(field.type), values), False)
            if pc.any(finer).as_py():
                changed[field.name] = finer.to_numpy(zero_copy_only=False)
            batch = batch.set_column(place, pa.field(field.name, kind), cast)
    return batch, changed


def _decoded(values: pa.Array, kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    # NOTE: pyarrow lets offsets of 32 bits overflow here, and gives other cells than there were.
    if _bytes(values) > MAX_BYTES:
        raise MemoryError(f"texts of more than {MAX_BYTES} bytes in one batch")
    try:
        return values.cast(kind)
    except pa.ArrowInvalid as error:
        raise MemoryError(str(error)) from error


def _bytes(values: pa.Array) -> int:
    """The size in bytes of dictionary-encoded or view text once it is decoded."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    if isinstance(kind, pa.DictionaryType):
        sized = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
        if not any(is_kind(kind.value_type) for is_kind in sized):
            return 0
        lengths = pc.binary_length(values.dictionary).cast(pa.int64())
        return int(pc.sum(lengths.take(values.indices)).as_py() or 0)
    if kind in (pa.string_view(), pa.binary_view()):
        # A view takes sixteen bytes; the first four hold the length.
        views = np.frombuffer(values.buffers()[1], dtype=np.int32).reshape(-1, 4)
        return int(views[values.offset : values.offset + len(values), 0].clip(0).sum(dtype=np.int64))
    return 0
