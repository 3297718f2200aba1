"""Maps times to partitions: the partition of a run's time, and those that a schedule expects."""

from __future__ import annotations

from datetime import datetime, timedelta

from batchdeploy.core.calendar import Grain
from batchdeploy.core.deployment import PartitionSpec

# A bound for mistakes such as a schedule of every minute over years.
MAX_EXPECTED = 100_000


def partition_at(wall: datetime, spec: PartitionSpec) -> str:
    """The partition of a run at this local time of the schedule's time zone.

    The time may be anywhere in its hour, day or month; a weekly partition is the last one that had begun on
    that day. ``run_offset`` then counts steps of the schedule, as it does for scheduled runs.

    Args:
        wall: local time, without a time zone.
        spec: the deployment's partition block.
    """
    begin, end = period(wall, spec.grain)
    if spec.run_offset == 0 and spec.grain != "weekly":
        return begin.strftime(spec.format)
    tick = wall if _next(wall - timedelta(seconds=1), spec) == wall else _before(end, spec)
    steps = spec.run_offset
    if tick < begin and spec.grain != "weekly" and steps < 0:
        # NOTE: without a time in this period (on a Saturday, say), the last one before it is a step back.
        steps += 1
    for _ in range(abs(steps)):
        tick = _next(tick, spec) if steps > 0 else _before(tick, spec)
    return tick.strftime(spec.format)


def is_due(key: str, spec: PartitionSpec) -> bool:
    """Whether the schedule has a time in this partition's period.

    Raises:
        ValueError: the key format cannot read it.
    """
    begin, end = period(datetime.strptime(key, spec.format), spec.grain)
    return _before(end, spec) >= begin


def period(wall: datetime, grain: Grain) -> tuple[datetime, datetime]:
    """Start and end of the hour, day or month of a time; for the weekly grain, of its day."""
    hour = wall.replace(minute=0, second=0, microsecond=0)
    if grain == "hourly":
        return hour, hour + timedelta(hours=1)
    day = hour.replace(hour=0)
    if grain == "monthly":
        month = day.replace(day=1)
        return month, (month + timedelta(days=31)).replace(day=1)
    return day, day + timedelta(days=1)


def expected(first: str, last: str, spec: PartitionSpec) -> tuple[str, ...]:
    """The partitions that the schedule expects from first to last, both inclusive, in order.

    Each time of the schedule gives one, between ``start`` and ``end`` if these are set. Empty if a bound
    cannot be parsed by the key format.
    """
    bounds = [*((spec.start and (spec.start,)) or ()), first], [*((spec.end and (spec.end,)) or ()), last]
    try:
        begin = max(datetime.strptime(key, spec.format) for key in bounds[0])
        end = min(datetime.strptime(key, spec.format) for key in bounds[1])
    except ValueError:
        return ()
    found: dict[str, None] = {}
    tick = _next(begin - timedelta(seconds=1), spec)
    # NOTE: keys need not sort like their times, so the times are compared.
    while datetime.strptime(key := tick.strftime(spec.format), spec.format) <= end:
        if len(found) >= MAX_EXPECTED:
            break
        found[key] = None
        tick = _next(tick, spec)
    return tuple(found)


def _next(wall: datetime, spec: PartitionSpec) -> datetime:
    from croniter import croniter

    found: datetime = croniter(spec.cron, start_time=wall).get_next(datetime)
    return found


def _before(wall: datetime, spec: PartitionSpec) -> datetime:
    from croniter import croniter

    found: datetime = croniter(spec.cron, start_time=wall).get_prev(datetime)
    return found
