"""Checks that a cron expression is valid and names times that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator

from batchdeploy.errors import Problem

CRON_FIELD = re.compile(r"[0-9A-Za-z*/,\-#?]+")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of the week", 0, 7, DAYS),
)
MONTH_LENGTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def cron_problems(schedule: str) -> Iterator[Problem]:
    """The problems of a five-field cron expression, under ``schedule``."""
    fields = schedule.split()
    if len(fields) != 5:
        yield Problem("schedule", "not five cron fields", schedule)
        return
    if wrong := [field for field in fields if not CRON_FIELD.fullmatch(field)]:
        yield Problem("schedule", "not a cron field", wrong[0])
        return
    found = [
        problem
        for field, (name, low, high, names) in zip(fields, FIELDS, strict=True)
        for part in field.split(",")
        if (problem := _part_problem(part, name, low, high, names)) is not None
    ]
    yield from found
    if not found and not _day_exists(*fields[2:]):
        yield Problem("schedule", "names a day that none of its months has", schedule)


def _part_problem(part: str, name: str, low: int, high: int, names: tuple[str, ...]) -> Problem | None:
    base, slash, step = part.partition("/")
    if slash and not (step.isdigit() and int(step) > 0):
        return Problem("schedule", f"the {name} has a step that is no number above 0", part)
    # NOTE: croniter also accepts `L` (the last of a month) and `#` (the n-th weekday of one).
    if base in ("*", "?") or "l" in re.sub("jul", "", base.lower()):
        return None
    for value in base.partition("#")[0].split("-", 1):
        number = _number(value, names, low)
        if number is None or not low <= number <= high:
            return Problem("schedule", f"the {name} must be between {low} and {high}", part)
    return None


def _number(value: str, names: tuple[str, ...], low: int) -> int | None:
    if value.isdigit():
        return int(value)
    return names.index(value.lower()) + low if value.lower() in names else None


def _day_exists(day: str, month: str, weekday: str) -> bool:
    """Whether any of the months has the day; True unless days and months are plain numbers or names."""
    days, months = day.split(","), month.split(",")
    numbers = [_number(value, MONTHS, 1) for value in months]
    if weekday not in ("*", "?") or not all(value.isdigit() for value in days) or None in numbers:
        return True
    return any(int(value) <= MONTH_LENGTHS[number - 1] for value in days for number in numbers if number)
