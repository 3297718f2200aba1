"""Which partition a DAG run is about: one answer for scheduled, manual, backfilled and test runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from batchdeploy.core.deployment import PartitionSpec
from batchdeploy.errors import PartitionError


def resolve_partition(context: Mapping[str, Any], spec: PartitionSpec) -> str:
    """The run's partition: its partition key, else the param ``partition``, else its logical date.

    Args:
        context: Airflow's task context. A partitioned run has no logical date, and ``dag.test()`` no key.
        spec: the deployment's partition block.

    Raises:
        PartitionError: a run that says nothing of a partition; with what to type.
    """
    key = context.get("partition_key") or getattr(context.get("dag_run"), "partition_key", None)
    if key:
        return str(key)
    if given := (context.get("params") or {}).get("partition"):
        return str(given)
    if logical := context.get("logical_date"):
        return str(logical.astimezone(ZoneInfo(spec.timezone)).strftime(spec.key_format))
    raise PartitionError(
        "this DAG run",
        f"says no partition of {spec.column!r}",
        hint='trigger it with a partition key, or with the config {"partition": "2013-02-08"}',
    )
