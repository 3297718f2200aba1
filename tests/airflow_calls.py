"""Calls of Airflow's REST API that several tests make, and waiting for what they cause."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote


def until(ready: Callable[[], Any], *, seconds: float = 500) -> Any:
    """What `ready` gives once it gives something."""
    end = time.monotonic() + seconds
    while not (answer := ready()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(1)
    return answer


def trigger(call: Callable[..., Any], dag: str, key: str | None = None, **conf: Any) -> str:
    """Triggers a run of a DAG; gives its id."""
    body = {"logical_date": None, "partition_key": key, "conf": conf}
    return str(call(f"/dags/{dag}/dagRuns", body)["dag_run_id"])


def tasks(call: Callable[..., Any], dag: str, run: str) -> dict[str, Any]:
    """The task instances of a run, by task."""
    found = call(f"/dags/{dag}/dagRuns/{quote(run)}/taskInstances")["task_instances"]
    return {task["task_id"]: task for task in found}


def run_state(call: Callable[..., Any], dag: str, run: str) -> str:
    """The state of a run."""
    return str(call(f"/dags/{dag}/dagRuns/{quote(run)}")["state"])


def ended(call: Callable[..., Any], dag: str, run: str) -> str:
    """The state of a run once it has ended."""
    return str(until(lambda: s if (s := run_state(call, dag, run)) in ("success", "failed") else None))
