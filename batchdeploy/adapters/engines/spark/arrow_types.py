"""Maps Arrow types to those that Spark has for the same Parquet columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchdeploy.kernel.lists import is_list

if TYPE_CHECKING:
    import pyarrow as pa


def spark_type(kind: pa.DataType) -> pa.DataType:
    """The Arrow type of the values that Spark reads from a Parquet column of an Arrow type.

    Unsigned integers become the next wider signed type, times microseconds, and text, binary and lists have
    one encoding each. The other types stay.
    """
    import pyarrow as pa

    types = pa.types
    if types.is_timestamp(kind):
        return pa.timestamp("us", tz=kind.tz)
    if types.is_decimal(kind) and kind.bit_width < 128:
        return pa.decimal128(kind.precision, kind.scale)
    if types.is_fixed_size_binary(kind):
        return pa.binary()
    if types.is_map(kind):
        return pa.map_(spark_type(kind.key_type), spark_type(kind.item_type))
    if types.is_struct(kind):
        return pa.struct([field.with_type(spark_type(field.type)) for field in kind])
    if isinstance(kind, pa.DictionaryType):
        return spark_type(kind.value_type)
    if is_list(kind):
        return pa.list_(spark_type(kind.value_type))
    known = {
        pa.uint8(): pa.int16(),
        pa.uint16(): pa.int32(),
        pa.uint32(): pa.int64(),
        pa.uint64(): pa.decimal128(20, 0),
        pa.float16(): pa.float32(),
        pa.date64(): pa.date32(),
        pa.large_string(): pa.string(),
        pa.string_view(): pa.string(),
        pa.large_binary(): pa.binary(),
        pa.binary_view(): pa.binary(),
    }
    return known.get(kind, kind)
