"""Which partition a DAG run is about: one answer for scheduled, manual, backfilled and test runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from batchdeploy.core.calendar import key_problem
from batchdeploy.core.deployment import PartitionSpec
from batchdeploy.core.request import LATEST
from batchdeploy.errors import PartitionError


def resolve_partition(context: Mapping[str, Any], spec: PartitionSpec) -> str:
    """The run's partition.

    Its partition key; else the param ``partition``; else the one that a triggering asset event carries
    in its extra; else that of its logical date, which only plain schedules and ``dag.test()`` have.

    Args:
        context: Airflow's task context.
        spec: the deployment's partition block.

    Returns:
        A value of the partition column, or ``latest`` where the param says so.

    Raises:
        PartitionError: a run that says nothing of a partition, or writes it otherwise than the key
            format; with what to type.
    """
    found = _found(context, spec)
    if found is None:
        raise PartitionError(
            "this DAG run",
            f"says no partition of {spec.column!r}",
            hint="trigger it with a partition key, or with the config "
            f'{{"partition": "{_example(spec)}"}}, or backfill a range of dates',
        )
    if found != LATEST:
        for problem in key_problem("partition", found, spec.format):
            raise PartitionError("this DAG run", (problem,), hint=f"for example {_example(spec)}")
    return found


def _found(context: Mapping[str, Any], spec: PartitionSpec) -> str | None:
    run = context.get("dag_run")
    key = context.get("partition_key") or getattr(run, "partition_key", None)
    if key:
        return str(key)
    if given := (context.get("params") or {}).get("partition"):
        return str(given)
    for events in (context.get("triggering_asset_events") or {}).values():
        for event in events:
            if told := (getattr(event, "extra", None) or {}).get("partition"):
                return str(told)
    if logical := context.get("logical_date"):
        return str(logical.astimezone(ZoneInfo(spec.timezone)).strftime(spec.format))
    return None


def _example(spec: PartitionSpec) -> str:
    from datetime import datetime

    return spec.start or datetime(2013, 2, 4).strftime(spec.format)
