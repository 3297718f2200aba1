"""`PromotionDag`: compares champion and challenger, asks for approval, then moves the alias."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar

from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.sdk import DAG, Param

from batchdeploy.airflow.assets import model_asset, with_assets
from batchdeploy.airflow.deployment_source import DeploymentSource, find_source
from batchdeploy.airflow.factory import triggered_dag
from batchdeploy.airflow.links import COMPARISON_KEY
from batchdeploy.airflow.run_config import refuse_unknown_keys
from batchdeploy.airflow.step_operator import StepOperator
from batchdeploy.core.request import LATEST, Answer, Decision, Step, StepRequest


def PromotionDag(  # noqa: N802
    deployment: str, *, environment: str | None = None, **dag_arguments: Any
) -> DAG:
    """A DAG that compares two models on one partition, asks for approval, and moves the alias.

    It publishes no scores. A rejection fails the run and leaves the alias unchanged; the decision is recorded
    and shown on the Report tab in either case. Moving the alias emits an event on `model_asset` with the
    partition in its extra; a `ScoringDag` scheduled on that asset re-scores it with the new model.

    Args:
        deployment: the YAML file, relative to the DAG's own file; its model is named by alias.
        environment: the deployment's environment, as of `ScoringDag`.
        dag_arguments: arguments of `airflow.sdk.DAG`.

    Raises:
        DeploymentError: the file is missing or wrong.
    """
    source = find_source(deployment, environment=environment)
    spec = source.spec
    own = {
        "doc_md": f"### Promotion of {spec.model.name}\n\nCompares, asks, then moves the alias "
        f"`{spec.model.alias or 'champion'}`.",
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
    with triggered_dag(source, "promotion", own, dag_arguments) as dag:
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
    """Asks for approval; pushes the decision, its time and its author to XCom.

    A rejection does not skip downstream tasks: `PromoteOperator` records it, and fails.
    """

    def execute_complete(self, context: Any, event: dict[str, Any]) -> dict[str, Any]:
        """The decision: ``approved``, ``by``, ``at``."""
        answer = HITLOperator.execute_complete(self, context, event)
        who = answer["responded_by_user"] or {}
        approved = answer["chosen_options"] == [self.APPROVE]
        decision = Decision(
            approved=approved, by=who.get("name") or who.get("id"), at=answer["responded_at"].isoformat()
        )
        self.log.info("%s by %s", "approved" if approved else "rejected", decision.by)
        return asdict(decision)


class CompareModelsOperator(StepOperator):
    """Scores a partition with champion and challenger; pushes the comparison to XCom."""

    step: ClassVar[Step] = "compare_models"
    heavy = True

    def request(self, context: Any) -> StepRequest:
        """The request with challenger and partition from the DAG run's params."""
        refuse_unknown_keys(context, read=("challenger", "partition"), ours=StepOperator)
        params = context.get("params") or {}
        return StepRequest(
            step=self.step,
            partition=context.get("partition_key") or params.get("partition"),
            model=params.get("challenger"),
        )

    def conclude(self, answer: Answer, context: Any) -> Answer:
        """Pushes the comparison's path, for the Report tab."""
        context["ti"].xcom_push(key=COMPARISON_KEY, value=answer["comparison"])
        self.pinned_model = (answer["model"], answer["challenger"])
        return super().conclude(answer, context)


class PromoteOperator(StepOperator):
    """Moves the alias if that was approved and the alias is unchanged; emits an event on the model asset.

    Args:
        decision: the output of a `DecisionOperator`; None if no decision was requested.
    """

    template_fields = (*StepOperator.template_fields, "decision")

    step: ClassVar[Step] = "promote"
    events_have_keys = False

    def __init__(self, *, deployment: str | DeploymentSource, decision: Any = None, **arguments: Any) -> None:
        source = find_source(deployment, arguments.get("dag"), arguments.get("environment"))
        super().__init__(deployment=source, **with_assets(arguments, "outlets", model_asset(source.spec)))
        self.decision = decision

    def request(self, context: Any) -> StepRequest:  # noqa: ARG002
        """The request with the comparison and the decision."""
        if isinstance(self.run, dict) and {"model", "challenger"} <= set(self.run):
            self.pinned_model = (self.run["model"], self.run["challenger"])
        decision = Decision(**self.decision) if self.decision else None
        if decision is None:
            self.log.warning("nobody decided: the approval was marked as success")
        return StepRequest(step=self.step, folder=self.upstream_value("comparison"), decision=decision)

    def conclude(self, answer: Answer, context: Any) -> Answer:
        """Logs the alias's old and new version."""
        self.log.info(
            "%s: alias %s moved from version %s to %s",
            answer["model"],
            answer["alias"],
            answer["champion"],
            answer["challenger"],
        )
        return super().conclude(answer, context)
