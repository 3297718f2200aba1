"""`ScoringDag`: five fat tasks, each a door to one step of `batchdeploy.flow`."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import (
    DAG,
    Asset,
    BaseOperator,
    CronPartitionTimetable,
    ExceptionRetryPolicy,
    Param,
    RetryAction,
    RetryRule,
)
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from batchdeploy.airflow.partition import resolve_partition
from batchdeploy.core.deployment import Deployment
from batchdeploy.documents import read_deployment
from batchdeploy.errors import GateRefused, OutsideError, RequestError

STEPS = ("plan", "validate", "score", "compare", "publish")


def ScoringDag(deployment: str, **dag_arguments: Any) -> DAG:  # noqa: N802
    """A DAG that scores one partition of a deployment a run.

    Args:
        deployment: the YAML file, relative to the DAG file that calls this.
        dag_arguments: anything `airflow.sdk.DAG` takes; goes over what the deployment says.

    Raises:
        DeploymentError: the file is missing or wrong, with line and column; Airflow shows it as the
            import error of this DAG file alone.
    """
    caller = _calling_file()
    file = (caller.parent / deployment).resolve()
    spec = read_deployment(file)
    arguments: dict[str, Any] = _arguments(spec, file) | dag_arguments
    arguments["default_args"] = _task_defaults(spec) | dag_arguments.get("default_args", {})
    dag = DAG(**arguments)
    # NOTE: Airflow takes the file of the frame that calls DAG(), which is this one.
    dag.fileloc = str(caller)
    with dag:
        before: ScoringStep | None = None
        for step in STEPS:
            task = ScoringStep(
                task_id=step,
                step=step,
                deployment=str(file),
                outlets=[Asset(name=f"{spec.name}-scores")] if step == "publish" else [],
            )
            if before is not None:
                before >> task
            before = task
    return dag


class ScoringStep(BaseOperator):
    """One step of a run. Hands on the run's folder and a few numbers, never data."""

    def __init__(self, *, step: str, deployment: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.step = step
        self.deployment = deployment

    def execute(self, context: Any) -> dict[str, Any]:
        """Does the step; a refusal or a wrong request fails the task without a retry, in one line."""
        from batchdeploy.runtime import open_toolbox

        tools = open_toolbox(self.deployment)
        try:
            if self.step == "plan":
                return self._plan(tools, context)
            folder = Path(context["ti"].xcom_pull(task_ids="plan")["folder"])
            return self._step(tools, folder, context)
        except (GateRefused, RequestError) as error:
            self.log.error("%s", error)
            raise AirflowFailException(str(error).replace("\n", " ")) from None
        finally:
            tools.close()

    def _plan(self, tools: Any, context: Any) -> dict[str, Any]:
        from batchdeploy import flow

        partition = resolve_partition(context, tools.deployment.data.partition)
        tools.sink.recover(now=flow.now().timestamp())
        planned = flow.plan(tools, partition)
        self.log.info(
            "partition %s, model %s version %s (%s), data %s %s, replaces %s: %s",
            planned.folder,
            planned.model.name,
            planned.model.version,
            planned.model.alias or "pinned by version",
            planned.data.tracked,
            planned.data.digest,
            planned.live or "nothing",
            "; ".join(planned.changes) or planned.state,
        )
        if planned.state == "identical":
            raise AirflowSkipException(f"{planned.folder} is identical to run {planned.run_id}")
        folder = flow.run_folder(tools, planned)
        flow.write(folder, planned)
        return {"folder": str(folder), "rows": planned.schema.rows, "run_id": planned.run_id}

    def _step(self, tools: Any, folder: Path, context: Any) -> dict[str, Any]:
        from batchdeploy import flow

        if self.step == "validate":
            report = flow.step_validate(tools, folder)
            return {"expectations": len(report.results), "failed": len(report.failed)}
        if self.step == "score":
            scored = flow.step_score(tools, folder)
            return {"scored": scored.rows_scored, "set_aside": scored.rows_quarantined}
        if self.step == "compare":
            return {"drift": flow.step_compare(tools, folder).verdict}
        manifest = flow.step_publish(tools, folder)
        flow.step_report(tools, folder)
        summary = {
            "run_id": manifest.run_id,
            "partition": manifest.partition,
            "rows": manifest.rows_scored,
            "model_version": manifest.model_version,
            "drift": manifest.drift,
        }
        context["outlet_events"][self.outlets[0]].extra = summary
        return summary


def _arguments(spec: Deployment, file: Path) -> dict[str, Any]:
    partition = spec.data.partition
    return {
        "dag_id": spec.name,
        "doc_md": f"# {spec.name}\n\n```yaml\n{file.read_text(encoding='utf-8')}\n```\n",
        "tags": ["batchdeploy", spec.engine.kind],
        "schedule": CronPartitionTimetable(
            partition.schedule, timezone=partition.timezone, key_format=partition.key_format
        ),
        "start_date": _date(partition.start, partition.key_format) or datetime(2000, 1, 1, tzinfo=UTC),
        "end_date": _date(partition.end, partition.key_format),
        "catchup": False,
        "max_active_runs": 1,
        "params": {
            "partition": Param(
                None,
                type=["null", "string"],
                title=f"Partition of {partition.column}",
                description="for a run that has no partition key; as the folder is named, 2013-02-08",
            )
        },
    }


def _task_defaults(spec: Deployment) -> dict[str, Any]:
    """Outside failures are tried again with growing delays; everything else fails at once."""
    return {
        "owner": spec.owner,
        "retries": 3,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": True,
        "retry_policy": ExceptionRetryPolicy(
            rules=[
                RetryRule(exception=OutsideError, action=RetryAction.RETRY, reason="failed outside"),
                RetryRule(exception=Exception, action=RetryAction.FAIL, reason="would fail again"),
            ]
        ),
    }


def _date(text: str | None, key_format: str) -> datetime | None:
    return None if text is None else datetime.strptime(text, key_format).replace(tzinfo=UTC)


def _calling_file() -> Path:
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return Path(frame.f_code.co_filename if frame is not None else ".").resolve()
