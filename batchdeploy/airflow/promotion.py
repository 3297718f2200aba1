"""`PromotionDag`: champion against challenger, a human's decision, then the alias moves."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar

from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.sdk import DAG, Param

from batchdeploy.airflow.assets import model_asset
from batchdeploy.airflow.deployment_source import DeploymentSource, find_source
from batchdeploy.airflow.factory import EARLIEST_START
from batchdeploy.airflow.links import COMPARISON_KEY
from batchdeploy.airflow.run_config import refuse_unknown_keys
from batchdeploy.airflow.step_operator import StepOperator, with_assets
from batchdeploy.core.request import LATEST, Answer, Decision, Step, StepRequest


def PromotionDag(deployment: str, **dag_arguments: Any) -> DAG:  # noqa: N802
    """A DAG that compares two models on one partition, asks, and moves the alias.

    Nothing is published by it. Rejecting fails the run and leaves the alias where it was; who decided is kept
    either way, and shown on the tab Report. Moving it emits an event
    on `model_asset`, whose extra names the partition: a `ScoringDag` that is scheduled on that asset scores
    it again with the new model.

    Args:
        deployment: the YAML file, relative to the DAG's own file; its model is named by alias.
        dag_arguments: anything `airflow.sdk.DAG` takes.

    Raises:
        DeploymentError: the file is missing or wrong.
    """
    source = find_source(deployment)
    spec = source.spec
    arguments: dict[str, Any] = {
        "dag_id": f"{spec.name}-promotion",
        "schedule": None,
        "start_date": EARLIEST_START,
        "catchup": False,
        "doc_md": f"### Promotion of {spec.model.name}\n\nCompares, asks, then moves the alias "
        f"`{spec.model.alias or 'champion'}`.",
        "tags": ["batchdeploy", "promotion"],
        "params": {
            "challenger": Param(
                "challenger", type="string", title="Challenger", description="An alias or a version."
            ),
            "partition": Param(
                LATEST,
                type="string",
                title=f"Partition ({spec.data.partition.column})",
                description=f"Whose rows both score: written as {spec.data.partition.format}, or {LATEST}.",
            ),
        },
    }
    dag = DAG(**(arguments | dag_arguments))
    dag.fileloc = str(source.caller)
    with dag:
        comparison = CompareModelsOperator(task_id="compare_models", deployment=source)
        approve = DecisionOperator(
            task_id="approve",
            subject=f"Promote {spec.model.name}?",
            body="{{ ti.xcom_pull(task_ids='compare_models')['markdown'] }}",
            owner=dag.default_args.get("owner", spec.owner),
        )
        (
            comparison
            >> approve
            >> PromoteOperator(
                task_id="promote", deployment=source, run=comparison.output, decision=approve.output
            )
        )
    return dag


class DecisionOperator(ApprovalOperator):
    """Asks people; hands on what was decided, when and by whom.

    A rejection is handed on too, and skips nothing: the task that follows keeps it, and fails.
    """

    def execute_complete(self, context: Any, event: dict[str, Any]) -> dict[str, Any]:
        """What was decided: ``approved``, ``by``, ``at``."""
        answer = HITLOperator.execute_complete(self, context, event)
        who = answer["responded_by_user"] or {}
        approved = answer["chosen_options"] == [self.APPROVE]
        decision = Decision(
            approved=approved, by=who.get("name") or who.get("id"), at=answer["responded_at"].isoformat()
        )
        self.log.info("%s by %s", "approved" if approved else "rejected", decision.by)
        return asdict(decision)


class CompareModelsOperator(StepOperator):
    """Scores a partition with champion and challenger; hands on the comparison."""

    step: ClassVar[Step] = "compare_models"
    heavy = True

    def request(self, context: Any) -> StepRequest:
        """Challenger and partition as the DAG run's params say."""
        refuse_unknown_keys(context, read=("challenger", "partition"), ours=StepOperator)
        params = context.get("params") or {}
        return StepRequest(
            step=self.step,
            partition=context.get("partition_key") or params.get("partition"),
            model=params.get("challenger"),
        )

    def conclude(self, answer: Answer, context: Any) -> Answer:
        """Hands on where the comparison lies, for the tab."""
        context["ti"].xcom_push(key=COMPARISON_KEY, value=answer["comparison"])
        self.pinned_model = (answer["model"], answer["challenger"])
        return super().conclude(answer, context)


class PromoteOperator(StepOperator):
    """Moves the alias where that was approved and it still is what was compared; an event on the model asset.

    Args:
        decision: what a `DecisionOperator` handed on; nobody was asked where it is None.
    """

    template_fields = (*StepOperator.template_fields, "decision")

    step: ClassVar[Step] = "promote"
    events_have_keys = False

    def __init__(self, *, deployment: str | DeploymentSource, decision: Any = None, **arguments: Any) -> None:
        source = find_source(deployment, arguments.get("dag"))
        super().__init__(deployment=source, **with_assets(arguments, "outlets", model_asset(source.spec)))
        self.decision = decision

    def request(self, context: Any) -> StepRequest:  # noqa: ARG002
        """The comparison, and what was decided about it."""
        if isinstance(self.run, dict) and {"model", "challenger"} <= set(self.run):
            self.pinned_model = (self.run["model"], self.run["challenger"])
        decision = Decision(**self.decision) if self.decision else None
        if decision is None:
            self.log.warning("nobody decided: the approval was marked as success")
        return StepRequest(step=self.step, folder=self.upstream_value("comparison"), decision=decision)

    def conclude(self, answer: Answer, context: Any) -> Answer:
        """Says what moved."""
        self.log.info(
            "%s: alias %s moved from version %s to %s",
            answer["model"],
            answer["alias"],
            answer["champion"],
            answer["challenger"],
        )
        return super().conclude(answer, context)
