"""`ScoringDag` and `ScoringTaskGroup`: five fat tasks, each a door to one step of a run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, CronPartitionTimetable, Param, TaskGroup

from batchdeploy.airflow.operators import (
    CompareOperator,
    PlanOperator,
    PublishOperator,
    ScoreOperator,
    ValidateOperator,
)
from batchdeploy.airflow.source import Source, find_source
from batchdeploy.airflow.step import StepOperator
from batchdeploy.core.calendar import first_moment, last_moment, shifted
from batchdeploy.core.deployment import PartitionSpec
from batchdeploy.core.request import LATEST
from batchdeploy.documents import shown_deployment
from batchdeploy.errors import DeploymentError, Problem

FOLLOWING: tuple[type[StepOperator], ...] = (
    ValidateOperator,
    ScoreOperator,
    CompareOperator,
    PublishOperator,
)


def ScoringDag(deployment: str, **dag_arguments: Any) -> DAG:  # noqa: N802
    """A DAG that scores one partition of a deployment a run.

    Args:
        deployment: the YAML file, relative to the DAG file that calls this.
        dag_arguments: anything `airflow.sdk.DAG` takes; goes over what the deployment says, and so does what
            ``default_args`` say of tasks. ``params`` and ``tags`` are added to those that are there.

    Raises:
        DeploymentError: the file is missing or wrong, with line and column; Airflow shows it as the
            import error of this DAG file alone.
    """
    source = find_source(deployment)
    arguments = _arguments(source, scheduled="schedule" not in dag_arguments) | dag_arguments
    if "start_date" in (dag_arguments.get("default_args") or {}) and "start_date" not in dag_arguments:
        del arguments["start_date"]
    arguments["params"] = scoring_params(source) | dict(dag_arguments.get("params") or {})
    arguments["tags"] = ["batchdeploy", source.spec.engine.kind, *(dag_arguments.get("tags") or ())]
    dag = DAG(**arguments)
    # NOTE: Airflow takes the file of the frame that calls DAG(), which is this one.
    dag.fileloc = str(source.caller)
    with dag:
        add_tasks(source)
    return dag


def ScoringTaskGroup(  # noqa: N802
    deployment: str, *, group_id: str | None = None, **group_arguments: Any
) -> TaskGroup:
    """The same five tasks as a group inside somebody's own DAG.

    Partition, model and the rest are read from the DAG run and its params; `scoring_params` makes these.
    A partition that is published already skips the group; tasks behind it that are to run all the same
    take ``trigger_rule="none_failed"``.

    Args:
        deployment: the YAML file, relative to the DAG file that calls this.
        group_id: the group's id; the deployment's name where it is not given.
        group_arguments: anything `airflow.sdk.TaskGroup` takes.

    Raises:
        DeploymentError: the file is missing or wrong.
    """
    source = find_source(deployment)
    name = group_id or source.spec.name.replace(".", "-")
    group = TaskGroup(group_id=name, **group_arguments)
    with group:
        add_tasks(source)
    return group


def add_tasks(source: Source) -> None:
    """The five tasks, one after another, in the DAG or group that is open."""
    before: StepOperator = PlanOperator(task_id="plan", deployment=source)
    for kind in FOLLOWING:
        before = kind(task_id=kind.step, deployment=source, run=before.output)


def scoring_params(deployment: str | Source) -> dict[str, Param]:
    """What a DAG run may be told; the form in Airflow's UI is made from it.

    Args:
        deployment: the YAML file, relative to the DAG file that calls this.
    """
    spec = find_source(deployment).spec
    partition, data = spec.data.partition, spec.data
    return {
        "partition": Param(
            None,
            type=["null", "string"],
            title=f"Partition ({partition.column})",
            description=f"For a run without a partition key: written as {partition.format}, or {LATEST}.",
        ),
        "model": Param(
            None,
            type=["null", "string"],
            title=f"Model ({spec.model.name})",
            description=f"An alias or a version instead of the deployed {spec.model.wanted}.",
        ),
        "on_missing": Param(
            None,
            type=["null", "string"],
            enum=[None, "fail", "skip", "wait"],
            title="Where there are no rows yet",
            description=f"The deployment says {data.on_missing}.",
        ),
        "repeat": Param(
            False,
            type="boolean",
            title="Repeat",
            description="Score again what is published already with the same model, data and settings.",
        ),
        "evolve": Param(
            False,
            type="boolean",
            title="Evolve the table",
            description="Let the table get another model's scores, or other columns, than it has.",
        ),
    }


def _arguments(source: Source, *, scheduled: bool) -> dict[str, Any]:
    spec = source.spec
    text = shown_deployment(source.file)
    found: dict[str, Any] = {
        "dag_id": spec.name,
        "doc_md": f"### {spec.name}\n\n`{source.file.name}`\n\n```yaml\n{text}\n```\n",
        "catchup": False,
        "start_date": datetime(2000, 1, 1, tzinfo=UTC),
    }
    if scheduled:
        found |= _calendar(source, spec.data.partition)
    return found


def _calendar(source: Source, spec: PartitionSpec) -> dict[str, Any]:
    """Schedule, start and end. A run with an offset comes so many periods after its partition."""
    from croniter import croniter

    if not croniter.is_valid(spec.cron):
        problem = Problem("data.partition.schedule", "not a cron expression", spec.cron)
        raise DeploymentError(str(source.file), (problem,))
    found: dict[str, Any] = {
        "schedule": CronPartitionTimetable(
            spec.cron, timezone=spec.timezone, key_format=spec.format, run_offset=spec.run_offset
        )
    }
    bounds = {"timezone": spec.timezone, "key_format": spec.format}
    if spec.start is not None:
        found["start_date"] = shifted(
            first_moment(spec.start, **bounds), spec.grain, -max(spec.run_offset, 0)
        )
    if spec.end is not None:
        found["end_date"] = shifted(last_moment(spec.end, **bounds), spec.grain, max(-spec.run_offset, 0))
    return found
