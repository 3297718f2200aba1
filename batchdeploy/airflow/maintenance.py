"""`RollbackDag` and `MaintenanceDag`, which a person triggers by hand for a published table."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow.sdk import DAG, Param

from batchdeploy.airflow.assets import scores_asset, with_assets
from batchdeploy.airflow.deployment_source import DeploymentSource, find_source
from batchdeploy.airflow.factory import triggered_dag
from batchdeploy.airflow.lineage import LineageOperator
from batchdeploy.airflow.links import SUMMARY_KEY
from batchdeploy.airflow.run_config import refuse_unknown_keys
from batchdeploy.airflow.step_operator import StepOperator
from batchdeploy.core.maintenance import CleanupReport
from batchdeploy.core.request import Answer, Step, StepRequest

# Two runs at a time would only wait for the table's lock.
ONE_AT_A_TIME = 1


def RollbackDag(  # noqa: N802
    deployment: str, *, environment: str | None = None, **dag_arguments: Any
) -> DAG:
    """A DAG that publishes an earlier run's scores of a partition again; nothing is scored.

    Trigger it with the partition, and with a run id to go further back than the run before. The tab Report
    shows the report of the restored run.

    Args:
        deployment: the YAML file, relative to the DAG's own file.
        environment: the deployment's environment, as of `ScoringDag`.
        dag_arguments: arguments of `airflow.sdk.DAG`.

    Raises:
        DeploymentError: the file is missing or wrong.
    """
    source = find_source(deployment, environment=environment)
    partition = source.spec.data.partition
    own = {
        "max_active_runs": ONE_AT_A_TIME,
        "doc_md": f"### Rollback of {source.spec.name}\n\nPublishes an earlier run's scores of a partition "
        "again, at once. A later run of the same partition publishes as usual.",
        "params": {
            "partition": Param(
                type="string",
                title=f"Partition ({partition.column})",
                description=f"Written as {partition.format}.",
            ),
            "to": Param(
                None,
                type=["null", "string"],
                title="Run",
                description="The id of an earlier run; the one before if empty.",
            ),
        },
    }
    with triggered_dag(source, "rollback", own, dag_arguments) as dag:
        RollbackOperator(task_id="rollback", deployment=source)
    return dag


def MaintenanceDag(  # noqa: N802
    deployment: str, *, environment: str | None = None, **dag_arguments: Any
) -> DAG:
    """A DAG that completes publishes of killed runs, then removes leftovers and old generations.

    Every run recovers at its start; trigger this DAG if no run follows, or give it a ``schedule``.

    Args:
        deployment: the YAML file, relative to the DAG's own file.
        environment: the deployment's environment, as of `ScoringDag`.
        dag_arguments: arguments of `airflow.sdk.DAG`.

    Raises:
        DeploymentError: the file is missing or wrong.
    """
    source = find_source(deployment, environment=environment)
    own = {
        "max_active_runs": ONE_AT_A_TIME,
        "doc_md": f"### Maintenance of {source.spec.name}\n\n`recover` completes the publishes of killed "
        "runs and removes what they left in staging. `collect_garbage` also removes generations beyond "
        "`publish.keep_generations`. Records, drift tables and quarantined rows are kept.",
    }
    with triggered_dag(source, "maintenance", own, dag_arguments) as dag:
        recover = RecoverOperator(task_id="recover", deployment=source)
        recover >> CollectGarbageOperator(task_id="collect_garbage", deployment=source)
    return dag


class RollbackOperator(LineageOperator, StepOperator):
    """Publishes an earlier run's scores of a partition again; emits an event on the scores asset.

    Partition and run are read from the DAG run's params ``partition`` and ``to``.
    """

    step: ClassVar[Step] = "rollback"
    writes = ("scores",)

    def __init__(self, *, deployment: str | DeploymentSource, **arguments: Any) -> None:
        source = find_source(deployment, arguments.get("dag"), arguments.get("environment"))
        super().__init__(deployment=source, **with_assets(arguments, "outlets", scores_asset(source.spec)))

    def request(self, context: Any) -> StepRequest:
        """The request with partition and run from the DAG run's params."""
        refuse_unknown_keys(context, read=("partition", "to"), ours=StepOperator)
        params = context.get("params") or {}
        # An empty field of the trigger form is no run id.
        return StepRequest(step=self.step, partition=params.get("partition"), to=params.get("to") or None)

    def conclude(self, answer: Answer, context: Any) -> Answer:
        """Logs which run is published now."""
        replaced = answer["replaced"] or "nothing"
        text = f"{answer['partition']}: run {answer['run_id']} is visible again, in place of {replaced}"
        self.log.info("%s", text)
        context["ti"].xcom_push(key=SUMMARY_KEY, value=text)
        return super().conclude(answer, context)


class RecoverOperator(StepOperator):
    """Completes the publishes of killed runs, and removes what they left in staging."""

    step: ClassVar[Step] = "recover"
    events_have_keys = False

    def request(self, context: Any) -> StepRequest:
        """The request, which needs no partition."""
        refuse_unknown_keys(context, read=(), ours=StepOperator)
        return StepRequest(step=self.step)

    def conclude(self, answer: Answer, context: Any) -> Answer:
        """Logs what was done, and pushes it for the Report tab."""
        names = {name: tuple(answer[name]) for name in CleanupReport.__slots__}
        text = "; ".join(CleanupReport(**names).summary()) or "nothing to do"
        self.log.info("%s", text)
        context["ti"].xcom_push(key=SUMMARY_KEY, value=text)
        return super().conclude(answer, context)


class CollectGarbageOperator(RecoverOperator):
    """Recovers, then removes generations beyond ``publish.keep_generations``, and other leftovers."""

    step: ClassVar[Step] = "collect_garbage"
