"""Schedules, key formats and time zones of partitions; when a partition begins and ends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from batchdeploy.core.cron import cron_problems
from batchdeploy.errors import Problem

Grain = Literal["hourly", "daily", "weekly", "monthly"]

SCHEDULES: dict[Grain, str] = {
    "hourly": "15 * * * *",
    "daily": "0 6 * * *",
    "weekly": "0 6 * * 1",
    "monthly": "0 6 1 * *",
}
KEY_FORMATS: dict[Grain, str] = {
    "hourly": "%Y-%m-%dT%H",
    "daily": "%Y-%m-%d",
    "weekly": "%Y-%m-%d",
    "monthly": "%Y-%m",
}
SAMPLE = datetime(2013, 8, 21, 14, 15, 16)
FINEST = (("%S", timedelta(seconds=1)), ("%M", timedelta(minutes=1)), ("%H", timedelta(hours=1)))


def calendar_problems(schedule: str, timezone: str, key_format: str) -> Iterator[Problem]:
    """The problems of a partition's schedule, time zone and key format, each under its key."""
    yield from cron_problems(schedule)
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield Problem("timezone", "no such time zone", timezone)
        return
    if not _round_trips(key_format):
        yield Problem("key_format", "a date cannot be read back from it", key_format)
    elif "%H" in key_format and _clock_changes(zone):
        yield Problem(
            "timezone",
            "its clock is set back once a year, and two hours would share one partition; "
            "hourly partitions need a zone without daylight saving, such as UTC",
            timezone,
        )


def key_problem(path: str, key: str | None, key_format: str) -> Iterator[Problem]:
    """Yields a problem if a partition's value is not in the key format's own notation."""
    try:
        if key is not None and (right := canonical_key(key, key_format)) is not None:
            yield Problem(path, f"is not written as {key_format!r}, which is {right}", key)
    except ValueError:
        yield Problem(path, f"is not written as {key_format!r}", key)


def canonical_key(key: str, key_format: str) -> str | None:
    """The value in the key format's own notation, or None if it is in that notation already.

    ``2013-8-12`` parses like ``2013-08-12`` but names another folder.

    Raises:
        ValueError: the key format cannot read it.
    """
    right = datetime.strptime(key, key_format).strftime(key_format)
    # NOTE: a format with a week number alone parses to another day; formatting it again proves nothing.
    sample = SAMPLE.strftime(key_format)
    faithful = datetime.strptime(sample, key_format).strftime(key_format) == sample
    return right if faithful and right != key else None


def is_after(first: str, second: str, key_format: str) -> bool:
    """Whether a partition begins later than another."""
    return datetime.strptime(first, key_format) > datetime.strptime(second, key_format)


def first_moment(key: str, *, timezone: str, key_format: str) -> datetime:
    """When the partition begins."""
    return datetime.strptime(key, key_format).replace(tzinfo=ZoneInfo(timezone))


def last_moment(key: str, *, timezone: str, key_format: str) -> datetime:
    """The last second of the partition, given by the finest unit in its key format."""
    begin = first_moment(key, timezone=timezone, key_format=key_format)
    for part, step in FINEST:
        if part in key_format:
            return begin + step - timedelta(seconds=1)
    if "%d" in key_format or "%j" in key_format:
        return begin.replace(hour=23, minute=59, second=59)
    months = 1 if "%m" in key_format or "%b" in key_format else 12
    month = begin.month - 1 + months
    return begin.replace(year=begin.year + month // 12, month=month % 12 + 1) - timedelta(seconds=1)


def end_moment(key: str, *, timezone: str, key_format: str) -> datetime:
    """When the partition has ended: the second after its last one, on the clock of its time zone."""
    return last_moment(key, timezone=timezone, key_format=key_format) + timedelta(seconds=1)


def _round_trips(key_format: str) -> bool:
    """Whether a key can be parsed back to its period; Airflow does so, and cannot parse an offset."""
    moment = datetime(2013, 2, 3, 4, tzinfo=UTC)
    try:
        again = datetime.strptime(moment.strftime(key_format), key_format)
    except ValueError:
        return False
    return again.tzinfo is None and again.year == moment.year


def _clock_changes(zone: ZoneInfo) -> bool:
    offsets = {datetime(2024, month, 1, tzinfo=zone).utcoffset() for month in range(1, 13)}
    return len(offsets) > 1
