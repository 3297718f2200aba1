"""One operator for each step of a run, and one for a whole run. Each pushes a folder and counts to XCom."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from batchdeploy.airflow.assets import drift_asset, model_asset, scores_asset, with_assets
from batchdeploy.airflow.deployment_source import DeploymentSource, find_source
from batchdeploy.airflow.lineage import LineageOperator
from batchdeploy.airflow.partition import find_partition, run_kind
from batchdeploy.airflow.run_config import refuse_unknown_keys
from batchdeploy.airflow.step_operator import PROBLEM_KEY, StepOperator, holder_of
from batchdeploy.airflow.task_arguments import Wait, check_wait
from batchdeploy.core.deployment import Deployment
from batchdeploy.core.request import Answer, Step, StepRequest
from batchdeploy.core.schedule import is_due

RUN_PARAMS = ("partition", "model", "on_missing", "repeat", "evolve")


class PlanOperator(StepOperator):
    """Pins partition, data and model, and logs them; skips if an identical run is published.

    Partition, model, ``on_missing`` and ``repeat`` are read from the DAG run and its params.

    Args:
        wait: how the task waits for rows that have not arrived: ``reschedule`` starts it again each
            ``data.poll_seconds``; ``defer`` looks for them in Airflow's triggerer.
    """

    step: ClassVar[Step] = "plan"

    def __init__(
        self, *, deployment: str | DeploymentSource, wait: Wait = "reschedule", **arguments: Any
    ) -> None:
        check_wait(wait)
        source = find_source(deployment, arguments.get("dag"), arguments.get("environment"))
        super().__init__(deployment=source, **with_assets(arguments, "inlets", model_asset(source.spec)))
        self.wait_mode = wait
        self._waiting_since: str | None = None

    def request(self, context: Any) -> StepRequest:
        """The request with partition and model policy; logs both, with the reason."""
        refuse_unknown_keys(context, read=RUN_PARAMS, ours=StepOperator)
        params = context.get("params") or {}
        policy, why = model_policy(context, self.spec)
        partition, origin = find_partition(context, self.spec.data.partition)
        self.log.info(
            "partition %s (%s); model policy: %s (%s)", partition, origin, policy or "as deployed", why
        )
        return StepRequest(
            step=self.step,
            partition=partition,
            model=policy,
            repeat=bool(params.get("repeat")),
            evolve=bool(params.get("evolve")),
            holder=holder_of(context),
        )

    def conclude(self, answer: Answer, context: Any) -> Answer:
        """Pushes the plan; if the partition has no rows yet, waits, skips or fails."""
        if answer["outcome"] == "missing":
            self._handle_missing(answer, context)
        self.log.info(
            "plan of %s: %s rows, data %s; model %s version %s (%s); replaces %s: %s",
            answer["partition"],
            answer["rows"],
            answer["data"],
            answer["model"],
            answer["model_version"],
            f"alias {answer['alias']}" if answer["alias"] else "pinned by version",
            answer["replaces"] or "nothing",
            "; ".join(answer["changes"]) or answer["state"],
        )
        return super().conclude(answer, context)

    def _handle_missing(self, answer: Answer, context: Any) -> None:
        wanted = (context.get("params") or {}).get("on_missing") or self.spec.data.on_missing
        reason = f"no rows yet for {answer['partition']}"
        spec = self.spec.data.partition
        if wanted != "fail" and run_kind(context) == "manual" and not is_due(answer["partition"], spec):
            # A person typed this partition. Its rows will never arrive, and a skipped run would look green.
            text = f"no rows for {answer['partition']}, which is none of the partitions of {spec.cron!r}"
            context["ti"].xcom_push(key=PROBLEM_KEY, value=text)
            raise AirflowFailException(text)
        if wanted == "skip":
            raise AirflowSkipException(f"{reason} (on_missing: skip)")
        if wanted == "wait":
            if self.wait_mode == "defer" and (trigger := self._trigger(answer["partition"])) is not None:
                self.log.info("%s; the triggerer looks for them", reason)
                since = self._waiting_since
                self.defer(trigger=trigger, method_name="execute_after_wait", kwargs={"since": since})
            self.wait(context, reason, self.spec.data.poll_seconds)
        text = " ".join(answer["reason"].split())
        context["ti"].xcom_push(key=PROBLEM_KEY, value=text)
        raise AirflowFailException(text)

    def execute_after_wait(self, context: Any, event: Any, since: str) -> Answer:
        """Runs the step after the trigger has fired."""
        from batchdeploy.airflow.rows_trigger import FOUND, LATE

        self._waiting_since = since
        if event == LATE:
            self.give_up(context, "the rows did not arrive")
        if event != FOUND:
            self.log.warning("the triggerer cannot look for rows, so the task is rescheduled: %s", event)
        # NOTE: rows that the triggerer sees and this worker does not would wake the task at once, again and
        # again.
        self.wait_mode = "reschedule"
        return self.execute(context)

    def _trigger(self, partition: str) -> Any:
        """The trigger that looks for rows; None if the triggerer cannot have what looking needs."""
        own = self.environment is not None or self.spec.storage.connection or self.spec.airflow.python
        if own or self.spec.data.format == "catalog":
            # The triggerer is one process for many tasks: it must not get the credentials of one of them, nor
            # start Spark, which a catalog is asked by.
            self.log.info(
                "with an environment, a connection or an interpreter of its own, or a table of Spark's "
                "catalog, the task is rescheduled"
            )
            return None
        from batchdeploy.airflow.rows_trigger import RowsTrigger

        self._waiting_since = self._waiting_since or datetime.now(UTC).isoformat()
        until = datetime.fromisoformat(self._waiting_since) + timedelta(hours=self.spec.data.wait_hours)
        return RowsTrigger(self.file, str(self.root), partition, until.isoformat())


class ValidateOperator(LineageOperator, StepOperator):
    """Evaluates the expectations; if it is cleared after rows or suite were fixed, it pins them again."""

    step: ClassVar[Step] = "validate"
    reads = ("data",)
    heavy = True


class ScoreOperator(LineageOperator, StepOperator):
    """Scores the partition's rows into staging."""

    step: ClassVar[Step] = "score"
    reads = ("data", "model")
    heavy = True


class DriftOperator(StepOperator):
    """Measures drift; emits an event on the drift asset."""

    step: ClassVar[Step] = "drift"

    def __init__(self, *, deployment: str | DeploymentSource, **arguments: Any) -> None:
        source = find_source(deployment, arguments.get("dag"), arguments.get("environment"))
        super().__init__(deployment=source, **with_assets(arguments, "outlets", drift_asset(source.spec)))


class PublishOperator(LineageOperator, StepOperator):
    """Publishes the scores and renders the report; emits an event on the scores asset."""

    step: ClassVar[Step] = "publish"
    reads = ("data", "model")
    writes = ("scores",)

    def __init__(self, *, deployment: str | DeploymentSource, **arguments: Any) -> None:
        source = find_source(deployment, arguments.get("dag"), arguments.get("environment"))
        super().__init__(deployment=source, **with_assets(arguments, "outlets", scores_asset(source.spec)))


class RunOperator(LineageOperator, PlanOperator):
    """A whole run in one task, from the plan to the report; emits events on both assets.

    A retry plans anew. If an earlier try of the same DAG run published and then died, the retry succeeds and
    emits the events.
    """

    step: ClassVar[Step] = "run"
    reads = ("data", "model")
    writes = ("scores",)
    heavy = True

    def __init__(self, *, deployment: str | DeploymentSource, **arguments: Any) -> None:
        source = find_source(deployment, arguments.get("dag"), arguments.get("environment"))
        super().__init__(
            deployment=source,
            **with_assets(arguments, "outlets", scores_asset(source.spec), drift_asset(source.spec)),
        )

    def request(self, context: Any) -> StepRequest:
        """The plan's request, and for a retry when the DAG run began."""
        request = super().request(context)
        began = getattr(context.get("dag_run"), "start_date", None)
        if began is None or context["ti"].try_number < 2:
            return request
        return replace(request, is_retry=True, since=began.isoformat())


def model_policy(context: Any, spec: Deployment) -> tuple[str | None, str]:
    """(model, reason) of a DAG run: its `model` param, else `backfill.model`, else the deployed model."""
    if given := (context.get("params") or {}).get("model"):
        return str(given), "the param of this DAG run"
    if run_kind(context) == "backfill" and spec.backfill.model is not None:
        return str(spec.backfill.model), "backfill.model of the deployment"
    return None, f"the deployment says {spec.model.label}; no param was given"
