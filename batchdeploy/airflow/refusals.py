"""What a refused gate tells people: the failure of the task, and a callback that only gates call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from batchdeploy.airflow.links import report_url
from batchdeploy.errors import BatchdeployError


class GateFailure(AirflowFailException):
    """A gate refused: the task fails without a retry; the evidence is in the report."""


class GateRefusal:
    """An ``on_failure_callback`` that calls others for refused gates only.

    A registry that did not answer, or a killed worker, is somebody else's page. Each callback gets Airflow's
    context with one more entry, ``refusal``: deployment, task, partition, reason (one line) and report (the
    address of the run's report in Airflow), for templates such as ``{{ refusal.reason }}``.

    Args:
        callbacks: functions of the context, or notifiers (Slack, mail, ...) from Airflow's providers.
    """

    def __init__(self, *callbacks: Callable[[Any], Any]) -> None:
        self.callbacks = callbacks

    def __call__(self, context: Any) -> None:
        """Calls the callbacks where the task failed because a gate refused."""
        error = context.get("exception")
        if not isinstance(error, GateFailure):
            return
        ti = context["ti"]
        refusal = {
            "deployment": getattr(ti.task, "deployment_name", ti.dag_id),
            "task": ti.task_id,
            "partition": context.get("partition_key") or (context.get("params") or {}).get("partition"),
            "reason": str(error),
            "report": report_url(ti.dag_id, ti.run_id),
        }
        for callback in self.callbacks:
            callback({**context, "refusal": refusal})


def one_line(error: BatchdeployError) -> str:
    """The error as one line of a log or of a red square's tooltip."""
    return " ".join(str(error).replace("\n- ", " ").replace("\n", ". ").split())
