"""Grains, time zones with daylight saving, and where partitions begin and end."""

from __future__ import annotations

from datetime import UTC, timedelta

import pytest

from batchdeploy.core.calendar import (
    calendar_problems,
    canonical_key,
    first_moment,
    key_problem,
    last_moment,
)
from batchdeploy.core.deployment import PartitionSpec


@pytest.mark.parametrize(
    ("given", "cron", "key_format"),
    [
        ({}, "0 6 * * *", "%Y-%m-%d"),
        ({"grain": "hourly"}, "15 * * * *", "%Y-%m-%dT%H"),
        ({"grain": "weekly"}, "0 6 * * 1", "%Y-%m-%d"),
        ({"grain": "monthly", "schedule": "30 2 2 * *"}, "30 2 2 * *", "%Y-%m"),
    ],
)
def test_a_grain_sets_what_is_not_given(given: dict[str, str], cron: str, key_format: str) -> None:
    spec = PartitionSpec(column="date", **given)  # type: ignore[arg-type]
    assert (spec.cron, spec.format) == (cron, key_format)
    assert not list(calendar_problems(spec.cron, spec.timezone, spec.format))


@pytest.mark.parametrize(
    ("schedule", "zone", "key_format", "path", "text"),
    [
        ("0 6 * *", "UTC", "%Y-%m-%d", "schedule", "not five cron fields"),
        ("0 6 * * ;", "UTC", "%Y-%m-%d", "schedule", "not a cron field"),
        ("0 6 * * *", "Europe/Atlantis", "%Y-%m-%d", "timezone", "no such time zone"),
        ("0 6 * * *", "../etc/passwd", "%Y-%m-%d", "timezone", "no such time zone"),
        ("0 6 * * *", "UTC", "day", "key_format", "cannot be read back"),
        ("0 6 * * *", "UTC", "%m-%d", "key_format", "cannot be read back"),
        ("0 * * * *", "UTC", "%Y-%m-%dT%H%z", "key_format", "cannot be read back"),
        ("0 * * * *", "Europe/Zurich", "%Y-%m-%dT%H", "timezone", "set back once a year"),
    ],
)
def test_what_cannot_be_scheduled_is_said(
    schedule: str, zone: str, key_format: str, path: str, text: str
) -> None:
    (problem,) = calendar_problems(schedule, zone, key_format)
    assert problem.path == path
    assert text in problem.problem


def test_hours_are_fine_where_no_clock_changes() -> None:
    assert not list(calendar_problems("0 * * * *", "Asia/Tokyo", "%Y-%m-%dT%H"))


@pytest.mark.parametrize(
    ("key", "key_format", "zone", "last"),
    [
        ("2024-03-31T04", "%Y-%m-%dT%H", "UTC", "2024-03-31T04:59:59+00:00"),
        ("2024-03-31", "%Y-%m-%d", "Europe/Zurich", "2024-03-31T23:59:59+02:00"),
        ("2024-10-27", "%Y-%m-%d", "Europe/Zurich", "2024-10-27T23:59:59+01:00"),
        ("2024-02", "%Y-%m", "UTC", "2024-02-29T23:59:59+00:00"),
        ("2024-12", "%Y-%m", "America/New_York", "2024-12-31T23:59:59-05:00"),
        ("2024", "%Y", "UTC", "2024-12-31T23:59:59+00:00"),
    ],
)
def test_a_partition_lasts_until_its_last_second(key: str, key_format: str, zone: str, last: str) -> None:
    assert last_moment(key, timezone=zone, key_format=key_format).isoformat() == last


def test_a_day_of_daylight_saving_has_23_or_25_hours() -> None:
    def hours(key: str) -> timedelta:
        bounds = {"timezone": "Europe/Zurich", "key_format": "%Y-%m-%d"}
        begin, end = first_moment(key, **bounds), last_moment(key, **bounds)
        return end.astimezone(UTC) - begin.astimezone(UTC) + timedelta(seconds=1)

    assert hours("2024-03-31") == timedelta(hours=23)
    assert hours("2024-10-27") == timedelta(hours=25)


def test_a_key_is_read_by_its_format() -> None:
    assert not list(key_problem("partition", "2024-02-29", "%Y-%m-%d"))
    (problem,) = key_problem("partition", "2023-02-29", "%Y-%m-%d")
    assert str(problem) == "partition: is not written as '%Y-%m-%d', got 2023-02-29"


@pytest.mark.parametrize(
    ("key", "key_format", "right"),
    [
        ("2013-8-12", "%Y-%m-%d", "2013-08-12"),
        ("2013-08-12T5", "%Y-%m-%dT%H", "2013-08-12T05"),
        ("2013-8", "%Y-%m", "2013-08"),
        ("2013-08-12", "%Y-%m-%d", None),
        ("20130812", "%Y%m%d", None),
        ("2013-224", "%Y-%j", None),
        # A week's number is no date: what it is read as says nothing of how it is written.
        ("2013-W07", "%Y-W%W", None),
    ],
)
def test_a_key_is_written_in_one_way(key: str, key_format: str, right: str | None) -> None:
    assert canonical_key(key, key_format) == right
    problems = [problem.problem for problem in key_problem("partition", key, key_format)]
    assert problems == ([] if right is None else [f"is not written as {key_format!r}, which is {right}"])
