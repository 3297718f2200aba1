"""Which partition a run is for that says only a moment: the period it lies in, so many runs further on."""

from __future__ import annotations

from datetime import datetime, timedelta

from batchdeploy.core.calendar import Grain
from batchdeploy.core.deployment import PartitionSpec


def partition_at(wall: datetime, spec: PartitionSpec) -> str:
    """The partition of a run whose moment reads so on a clock in the schedule's zone.

    The moment may lie anywhere in its hour, day or month; a weekly partition is the last one that had begun
    on its day. ``run_offset`` then counts times of the schedule, as it does for scheduled runs.

    Args:
        wall: year to second, without a zone.
        spec: the deployment's partition block.
    """
    begin, end = period(wall, spec.grain)
    if spec.run_offset == 0 and spec.grain != "weekly":
        return begin.strftime(spec.format)
    tick = wall if _next(wall - timedelta(seconds=1), spec) == wall else _before(end, spec)
    steps = spec.run_offset
    if tick < begin and spec.grain != "weekly" and steps < 0:
        # NOTE: the schedule has no time in this period (a Saturday, say): the last one before is a step back.
        steps += 1
    for _ in range(abs(steps)):
        tick = _next(tick, spec) if steps > 0 else _before(tick, spec)
    return tick.strftime(spec.format)


def is_due(key: str, spec: PartitionSpec) -> bool:
    """Whether the schedule has this partition: a Tuesday is none of a schedule of Mondays.

    Raises:
        ValueError: the key format cannot read it.
    """
    begin, end = period(datetime.strptime(key, spec.format), spec.grain)
    return _before(end, spec) >= begin


def period(wall: datetime, grain: Grain) -> tuple[datetime, datetime]:
    """The hour, day or month that a moment lies in: its begin and its end. A week is told by its days."""
    hour = wall.replace(minute=0, second=0, microsecond=0)
    if grain == "hourly":
        return hour, hour + timedelta(hours=1)
    day = hour.replace(hour=0)
    if grain == "monthly":
        month = day.replace(day=1)
        return month, (month + timedelta(days=31)).replace(day=1)
    return day, day + timedelta(days=1)


def _next(wall: datetime, spec: PartitionSpec) -> datetime:
    from croniter import croniter

    found: datetime = croniter(spec.cron, start_time=wall).get_next(datetime)
    return found


def _before(wall: datetime, spec: PartitionSpec) -> datetime:
    from croniter import croniter

    found: datetime = croniter(spec.cron, start_time=wall).get_prev(datetime)
    return found
