"""Determines the partition of a DAG run: scheduled, manual, backfilled or test run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from batchdeploy.core.calendar import key_problem
from batchdeploy.core.deployment import PartitionSpec
from batchdeploy.core.request import LATEST
from batchdeploy.core.schedule import partition_at
from batchdeploy.errors import PartitionError, Problem


def resolve_partition(context: Mapping[str, Any], spec: PartitionSpec) -> str:
    """The partition of a DAG run.

    The first of: the run's partition key; the param ``partition``; the extra of a triggering asset event; the
    logical date, which plain schedules, ``dag.test()`` and triggers with a date have. A logical date means
    the period that contains it in the deployment's zone, ``run_offset`` periods later. A date without a time
    means that date in any zone.

    Args:
        context: Airflow's task context.
        spec: the deployment's partition block.

    Returns:
        A value of the partition column, or ``latest`` if the param is ``latest``.

    Raises:
        PartitionError: the run names no partition or one in another notation, or its logical date is outside
            the deployment's start and end; the hint says what to type.
    """
    return find_partition(context, spec)[0]


def find_partition(context: Mapping[str, Any], spec: PartitionSpec) -> tuple[str, str]:
    """The run's partition, as in `resolve_partition`, and its source for the log."""
    found, source = _found(context, spec)
    if found is None:
        raise PartitionError("this DAG run", f"says no partition of {spec.column!r}", hint=_hint(spec))
    if found != LATEST:
        for problem in key_problem("partition", found, spec.format):
            raise PartitionError("this DAG run", (problem,), hint=f"for example {_example(spec)}")
    return found, source


def run_kind(context: Mapping[str, Any]) -> str:
    """The DAG run's type: ``manual``, ``scheduled``, ``backfill``, ``asset_triggered``, ..."""
    kind = getattr(context.get("dag_run"), "run_type", "manual")
    # NOTE: in a task `run_type` is an enum member, and its `str()` is the name instead of the value.
    return str(getattr(kind, "value", kind))


def _found(context: Mapping[str, Any], spec: PartitionSpec) -> tuple[str | None, str]:
    run = context.get("dag_run")
    key = context.get("partition_key") or getattr(run, "partition_key", None)
    if key:
        return str(key), "its partition key"
    if given := (context.get("params") or {}).get("partition"):
        return str(given), "the param of this DAG run"
    for events in (context.get("triggering_asset_events") or {}).values():
        for event in events:
            if value := (getattr(event, "extra", None) or {}).get("partition"):
                return str(value), "the asset event that triggered it"
    if logical := context.get("logical_date"):
        return _of_logical_date(logical, run_kind(context), spec)
    return None, ""


def _of_logical_date(logical: datetime, kind: str, spec: PartitionSpec) -> tuple[str, str]:
    """The partition of a logical date, and the explanation for the log."""
    date = _date_without_time(logical) if kind == "manual" else None
    wall = date or logical.astimezone(ZoneInfo(spec.timezone)).replace(tzinfo=None)
    found = partition_at(wall, spec)
    shown = f"{wall:%Y-%m-%d}" if date else f"{wall:%Y-%m-%d %H:%M} in {spec.timezone}"
    offset = f", run_offset {spec.run_offset}" if spec.run_offset else ""
    for name, bound, outside in (("start", spec.start, -1), ("end", spec.end, 1)):
        if bound is not None and _order(found, bound, spec) == outside:
            where = "before" if outside < 0 else "after"
            problem = f"its logical date, {shown}{offset}, means {found}, {where} data.partition.{name}"
            raise PartitionError("this DAG run", (Problem("partition", problem, bound),), hint=_hint(spec))
    return found, f"its logical date, {shown}{offset}"


def _date_without_time(logical: datetime) -> datetime | None:
    """The date that a person gave without a time of day, or None.

    NOTE: Airflow makes midnight of it, in UTC or in the zone that its configuration names; in a schedule's
    zone west of that it would be the evening before.
    """
    from airflow.sdk.timezone import parse

    utc = logical.astimezone(UTC).replace(tzinfo=None)
    day = utc.replace(hour=0, minute=0, second=0, microsecond=0)
    if utc == day:
        return day
    days = (day + timedelta(days=step) for step in (-1, 0, 1))
    # Airflow's CLI parses dates with the same function.
    return next((d for d in days if parse(d.isoformat()) == logical), None)


def _order(one: str, other: str, spec: PartitionSpec) -> int:
    moments = [datetime.strptime(key, spec.format) for key in (one, other)]
    return (moments[0] > moments[1]) - (moments[0] < moments[1])


def _hint(spec: PartitionSpec) -> str:
    return (
        "trigger it with a partition key, or with the config "
        f'{{"partition": "{_example(spec)}"}}, or backfill a range of dates'
    )


def _example(spec: PartitionSpec) -> str:
    return spec.start or datetime(2013, 2, 4).strftime(spec.format)
