"""Texts, dates and timestamps as dates, or as timestamps in microseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchdeploy.kernel.parsing import parse_texts

if TYPE_CHECKING:
    import pyarrow as pa

DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?"
ZONE = r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)"


def to_dates(values: pa.Array) -> pa.Array:
    """Dates; null for a text that is no ISO 8601 date, and for a time that is not midnight (UTC)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_string(values.type):
        return parse_texts(values, pa.date32(), DATE)
    if pa.types.is_timestamp(values.type):
        times = _without_zone(values)
        midnight = pc.equal(pc.floor_temporal(times, unit="day"), times)
        values = pc.if_else(midnight, times, pa.scalar(None, times.type))
    elif pa.types.is_date64(values.type):
        times = values.view(pa.timestamp("ms"))
        midnight = pc.equal(pc.floor_temporal(times, unit="day"), times)
        values = pc.if_else(midnight, times, pa.scalar(None, times.type))
    return values.cast(pa.date32())


def to_timestamps(values: pa.Array) -> pa.Array:
    """Timestamps in microseconds without a zone; null for what is finer, or beyond them.

    A time with a zone is converted to UTC; one without is left as it is.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_string(values.type):
        return _parse_times(values)
    kind = pa.timestamp("us")
    if pa.types.is_timestamp(values.type):
        values = _without_zone(values)
    elif pa.types.is_date64(values.type):
        values = values.view(pa.timestamp("ms"))
    try:
        return values.cast(kind)
    except pa.ArrowInvalid:
        cast = values.cast(kind, safe=False)
        # NOTE: an unchecked cast wraps around; what comes back as another value was not held.
        same = pc.equal(cast.cast(values.type, safe=False), values)
        return pc.if_else(same, cast, pa.scalar(None, kind))


def _without_zone(times: pa.Array) -> pa.Array:
    import pyarrow as pa

    return times.view(pa.int64()).view(pa.timestamp(times.type.unit))


def _parse_times(values: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    # Arrow reads six digits of a second; zeros beyond them say nothing.
    values = pc.replace_substring_regex(values, r"(\.[0-9]{6})0{1,3}", r"\1")
    local = parse_texts(values, pa.timestamp("us"), f"{TIME})?$")
    zoned = parse_texts(values, pa.timestamp("us", "UTC"), f"{TIME}{ZONE})$")
    return pc.coalesce(local, _without_zone(zoned))
