"""Which partition a run is for that says only a moment: the period it lies in, so many runs further on."""

from __future__ import annotations

from datetime import datetime, timedelta

from batchdeploy.core.calendar import Grain
from batchdeploy.core.deployment import PartitionSpec

# NOTE: a schedule of every minute over years is no range that anybody means.
MAX_EXPECTED = 100_000


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


def expected(first: str, last: str, spec: PartitionSpec) -> tuple[str, ...]:
    """The partitions that the calendar expects from first to last, both included, in order.

    Each time of the schedule makes one, from ``start`` to ``end`` where these are given; a value that is not
    written as the key format says is on no calendar, and nothing is expected then.
    """
    bounds = [*((spec.start and (spec.start,)) or ()), first], [*((spec.end and (spec.end,)) or ()), last]
    try:
        begin = max(datetime.strptime(key, spec.format) for key in bounds[0])
        end = min(datetime.strptime(key, spec.format) for key in bounds[1])
    except ValueError:
        return ()
    found: dict[str, None] = {}
    tick = _next(begin - timedelta(seconds=1), spec)
    # NOTE: keys sort as their times do only within a format that does; the times decide.
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
