"""`ScoringDag` and `ScoringTaskGroup`: a run as five tasks, one for each step, or as one task."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, Param, TaskGroup

from batchdeploy.airflow.deployment_source import DeploymentSource, find_source
from batchdeploy.airflow.operators import (
    DriftOperator,
    PlanOperator,
    PublishOperator,
    RunOperator,
    ScoreOperator,
    ValidateOperator,
)
from batchdeploy.airflow.step_operator import StepOperator
from batchdeploy.airflow.task_arguments import Tasks, Wait, check_task_arguments
from batchdeploy.airflow.timetable import PartitionTimetable
from batchdeploy.core.calendar import first_moment, last_moment
from batchdeploy.core.deployment import PartitionSpec
from batchdeploy.core.request import LATEST
from batchdeploy.documents.yaml_files import redacted_deployment
from batchdeploy.errors import DeploymentError, Problem

# NOTE: a run whose logical date is before its DAG's start gets no tasks, and counts as a success.
EARLIEST_START = datetime(1900, 1, 1, tzinfo=UTC)
# Airflow's backfill form shows the params of a run, but sends them only if that box is ticked.
BACKFILL_NOTE = (
    "\n\n**A BACKFILL DROPS WHAT IS TYPED HERE**, unless *Override parameters on existing runs* is ticked."
)
OPERATORS: Mapping[Tasks, tuple[type[StepOperator], ...]] = {
    "five": (PlanOperator, ValidateOperator, ScoreOperator, DriftOperator, PublishOperator),
    "one": (RunOperator,),
}


def ScoringDag(  # noqa: N802
    deployment: str,
    *,
    tasks: Tasks = "five",
    task_arguments: Mapping[str, Mapping[str, Any]] | None = None,
    environment: str | None = None,
    wait: Wait = "reschedule",
    **dag_arguments: Any,
) -> DAG:
    """A DAG that scores one partition of a deployment a run.

    Args:
        deployment: the YAML file, relative to the DAG's own file.
        tasks: ``five``, one for each step (``plan``, ``validate``, ``score``, ``drift``, ``publish``), or
            ``one`` for the whole run (``run``).
        task_arguments: further operator arguments by task: ``{"score": {"pool": "big"}}``. They override
            ``default_args``.
        environment: the environment whose Airflow Variable, ``batchdeploy_ENVIRONMENT``, has the values of
            variables in the deployment; tasks read it when they run.
        wait: how to wait for rows (``data.on_missing: wait``): ``reschedule`` starts the first task again
            each ``data.poll_seconds``; ``defer`` looks for them in Airflow's triggerer.
        dag_arguments: arguments of `airflow.sdk.DAG`. They override the deployment; ``default_args`` do
            so for tasks. ``params`` and ``tags`` are added to the generated ones.

    Raises:
        DeploymentError: the file is missing or wrong, with line and column; Airflow shows it as the
            import error of this DAG file alone.
        RequestError: ``tasks`` or ``task_arguments`` name a task or an argument that does not exist.
    """
    check_task_arguments(tasks, task_arguments)
    source = find_source(deployment, environment=environment)
    arguments = _arguments(source, dag_arguments) | dag_arguments
    if "start_date" in (dag_arguments.get("default_args") or {}) and "start_date" not in dag_arguments:
        del arguments["start_date"]
    arguments["params"] = scoring_params(source) | dict(dag_arguments.get("params") or {})
    arguments["tags"] = ["batchdeploy", source.spec.engine.kind, *(dag_arguments.get("tags") or ())]
    dag = DAG(**arguments)
    # Airflow takes the file of the frame that calls DAG(), which is this module.
    dag.fileloc = str(source.caller)
    with dag:
        add_tasks(source, tasks, task_arguments, wait=wait)
    return dag


def triggered_dag(source: DeploymentSource, kind: str, own: dict[str, Any], given: dict[str, Any]) -> DAG:
    """A DAG without tasks and without a schedule, which a person triggers.

    Args:
        source: the deployment.
        kind: the end of its id, and its tag: ``rollback``.
        own: the arguments of `airflow.sdk.DAG` of this kind.
        given: the caller's arguments, which override all others.
    """
    arguments = {
        "dag_id": f"{source.spec.name}-{kind}",
        "schedule": None,
        "start_date": EARLIEST_START,
        "catchup": False,
        "tags": ["batchdeploy", kind],
    }
    dag = DAG(**(arguments | own | given))
    # Airflow takes the file of the frame that calls DAG(), which is this module.
    dag.fileloc = str(source.caller)
    return dag


def ScoringTaskGroup(  # noqa: N802
    deployment: str,
    *,
    group_id: str | None = None,
    tasks: Tasks = "five",
    task_arguments: Mapping[str, Mapping[str, Any]] | None = None,
    environment: str | None = None,
    wait: Wait = "reschedule",
    **group_arguments: Any,
) -> TaskGroup:
    """The same tasks as a group inside your own DAG.

    The tasks read partition, model and other params from the DAG run; `scoring_params` creates the params. If
    the partition is already published, the group is skipped; give downstream tasks that must run anyway
    ``trigger_rule="none_failed"``.

    Args:
        deployment: the YAML file, relative to the DAG's own file.
        group_id: the group's id; by default the deployment's name.
        tasks: ``five`` or ``one``, as of `ScoringDag`.
        task_arguments: further operator arguments by task, as of `ScoringDag`.
        environment: the deployment's environment, as of `ScoringDag`.
        wait: how to wait for rows, as of `ScoringDag`.
        group_arguments: arguments of `airflow.sdk.TaskGroup`.

    Raises:
        DeploymentError: the file is missing or wrong.
        RequestError: ``tasks`` or ``task_arguments`` name a task or an argument that does not exist.
    """
    check_task_arguments(tasks, task_arguments)
    source = find_source(deployment, environment=environment)
    name = group_id or source.spec.name.replace(".", "-")
    group = TaskGroup(group_id=name, **group_arguments)
    with group:
        add_tasks(source, tasks, task_arguments, wait=wait)
    return group


def add_tasks(
    source: DeploymentSource,
    tasks: Tasks,
    task_arguments: Mapping[str, Mapping[str, Any]] | None,
    *,
    wait: Wait,
) -> None:
    """Adds a run's tasks, in sequence, to the current DAG or group."""
    run = None
    for kind in OPERATORS[tasks]:
        arguments = dict((task_arguments or {}).get(kind.step, {}))
        if issubclass(kind, PlanOperator):
            arguments["wait"] = wait
        run = kind(task_id=kind.step, deployment=source, run=run, **arguments).output


def scoring_params(deployment: str | DeploymentSource, *, environment: str | None = None) -> dict[str, Param]:
    """The params of a scoring DAG run, from which Airflow builds its trigger form.

    Args:
        deployment: the YAML file, relative to the DAG's own file.
        environment: the deployment's environment, as of `ScoringDag`.
    """
    spec = find_source(deployment, environment=environment).spec
    partition, data = spec.data.partition, spec.data
    model = f"An alias or a version instead of the deployed {spec.model.label}."
    return {
        "partition": Param(
            None,
            type=["null", "string"],
            title=f"Partition ({partition.column})",
            description_md=f"For a run without a partition key: as `{partition.format}`, or `{LATEST}`.",
        ),
        "model": Param(
            None,
            type=["null", "string"],
            title=f"Model ({spec.model.name})",
            description_md=f"{model}{BACKFILL_NOTE} Its model is `backfill: {{model: ...}}` of the deployment"
            f" ({spec.backfill.model or 'not set: the deployed one'}).",
        ),
        "on_missing": Param(
            None,
            type=["null", "string"],
            enum=[None, "fail", "skip", "wait"],
            title="Where there are no rows yet",
            description_md=f"The deployment says {data.on_missing}." + BACKFILL_NOTE,
        ),
        "repeat": Param(
            False,
            type="boolean",
            title="Repeat",
            description_md="Score again what is published already with the same model, data and settings."
            + BACKFILL_NOTE,
        ),
        "evolve": Param(
            False,
            type="boolean",
            title="Evolve the table",
            description_md="Let the table get another model's scores, or other columns, than it has."
            + BACKFILL_NOTE,
        ),
    }


def scoring_schedule(
    deployment: str | DeploymentSource, *, environment: str | None = None
) -> PartitionTimetable:
    """The schedule of the deployment's partitions, for the ``schedule`` argument of your own DAG.

    Args:
        deployment: the YAML file, relative to the DAG's own file.
        environment: the deployment's environment, as of `ScoringDag`.

    Raises:
        DeploymentError: the file is missing or wrong, or its schedule is not one that cron knows.
    """
    from croniter import croniter

    source = find_source(deployment, environment=environment)
    spec = source.spec.data.partition
    if not croniter.is_valid(spec.cron):
        problem = Problem("data.partition.schedule", "not a cron expression", spec.cron)
        raise DeploymentError(str(source.file), (problem,))
    return PartitionTimetable(spec)


def _arguments(source: DeploymentSource, given: dict[str, Any]) -> dict[str, Any]:
    """DAG arguments from the deployment, except those that the caller gives."""
    spec = source.spec
    text = redacted_deployment(source.file)
    found: dict[str, Any] = {
        "dag_id": spec.name,
        "doc_md": f"### {spec.name}\n\n`{source.file.name}`\n\n```yaml\n{text}\n```\n",
        "catchup": False,
        "start_date": EARLIEST_START,
    }
    if "schedule" not in given:
        found["schedule"] = scoring_schedule(source)
        command = _backfill_command(given.get("dag_id", spec.name), spec.data.partition)
        found["doc_md"] += f"\nFrom a shell, both dates included: `{command}`\n"
    return found


def _backfill_command(dag_id: str, spec: PartitionSpec) -> str:
    bounds = {"timezone": spec.timezone, "key_format": spec.format}
    first = f"{first_moment(spec.start, **bounds):%Y-%m-%d}" if spec.start else "DATE"
    last = f"{last_moment(spec.end, **bounds):%Y-%m-%d}" if spec.end else "DATE"
    return f"airflow backfill create --dag-id {dag_id} --from-date {first} --to-date {last}"
