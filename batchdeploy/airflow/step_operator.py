"""What every step's operator does: its turn, its retries, what it tells on failure and hands on."""

from __future__ import annotations

import os
import traceback
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit, urlunsplit

from airflow.sdk import Asset, BaseOperator, ExceptionRetryPolicy, RetryAction, RetryPolicy, RetryRule
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
)

from batchdeploy.airflow.deployment_source import DeploymentSource, find_source
from batchdeploy.airflow.failure_messages import (
    GateFailure,
    format_one_line,
    missing_xcom_error,
    recovery_action,
    with_airflow_hint,
)
from batchdeploy.airflow.links import RUN_KEY, ModelLink, ReportLink
from batchdeploy.airflow.report_access import ControlFolder
from batchdeploy.core.deployment import Deployment
from batchdeploy.core.request import Answer, Step, StepRequest
from batchdeploy.errors import (
    BatchdeployError,
    GateRefused,
    OutsideError,
    PartitionError,
    RequestError,
    StaleRunError,
)
from batchdeploy.host.project_root import refuse_lost_output
from batchdeploy.redaction import redact, redact_chain

if TYPE_CHECKING:
    from batchdeploy.airflow.interpreter import Interpreter

PROBLEM_KEY = "batchdeploy_problem"
BUSY_POLL_SECONDS = 15
RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(exception=OutsideError, action=RetryAction.RETRY, reason="failed outside"),
        RetryRule(exception=Exception, action=RetryAction.FAIL, reason="would fail again"),
    ]
)


class StepOperator(BaseOperator):
    """One step. What failed outside is tried again with growing delays; a refusal or bad data never is.

    Args:
        deployment: the deployment's file, relative to the DAG file.
        run: the answer of the step before, ``plan.output``; it makes the dependency too.
        retries, retry_delay, retry_exponential_backoff, retry_policy: as `airflow.sdk.BaseOperator` has them.
        arguments: anything else that it takes. What is given here goes over ``default_args`` of the DAG or
            the group, and these over what the deployment says and the steps bring.
    """

    step: ClassVar[Step]
    heavy: ClassVar[bool] = False
    # NOTE: an event with a partition key wakes only DAGs that are scheduled on an asset's partitions.
    events_have_keys: ClassVar[bool] = True
    template_fields: Collection[str] = ("run", "control")
    operator_extra_links = (ReportLink(), ModelLink())
    ui_color = "#eef2ff"

    # NOTE: Airflow looks for an argument's default in the signature: for a task of its own below what
    # default_args say, and for one that is mapped, of which the scheduler sees nothing else.
    def __init__(
        self,
        *,
        deployment: str | DeploymentSource,
        run: Any = None,
        retries: int = 3,
        retry_delay: timedelta | float = timedelta(seconds=30),
        retry_exponential_backoff: float = 2.0,
        retry_policy: RetryPolicy | None = RETRY_POLICY,
        **arguments: Any,
    ) -> None:
        source = find_source(deployment, arguments.get("dag"))
        spec = source.spec
        default_args = arguments.get("default_args") or {}
        arguments.setdefault("owner", default_args.get("owner", spec.owner))
        if self.heavy and _uses_all_cores(spec):
            # This engine takes every core; a backfill starts ten runs at a time.
            limit = "max_active_tis_per_dag"
            arguments.setdefault(limit, default_args.get(limit, 1))
        arguments |= {
            "retries": retries,
            "retry_delay": retry_delay,
            "retry_exponential_backoff": retry_exponential_backoff,
            "retry_policy": retry_policy,
        }
        super().__init__(**arguments)
        self.run = run
        self.control = ControlFolder.of(source)
        self.file = str(source.file)
        self.root = source.root
        self.spec = spec
        self.deployment_name = spec.name
        self.pinned_model: tuple[str, int] | None = None
        self._interpreter: Interpreter | None = None

    @property
    def registry_page(self) -> str | None:
        """The address of the registry's pages, where it is a server."""
        uri = self.spec.model.registry or os.environ.get("MLFLOW_TRACKING_URI") or ""
        if not uri.startswith(("http://", "https://")):
            return None
        parts = urlsplit(uri)
        # The link is kept in Airflow's database, and everybody who sees the task sees it.
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))

    def execute(self, context: Any) -> Answer:
        """Does the step.

        Raises:
            AirflowFailException: a refusal or a wrong request; in one line.
            AirflowSkipException: what would be published is published already.
            OutsideError: something outside failed; Airflow tries again.
        """
        if isinstance(self.run, dict):
            self._remember_model(self.run)
        try:
            self._refuse_lost_output(context)
            answer = self._run_when_free(self.request(context), context)
        except GateRefused as error:
            # A step that planned anew was refused in another folder than the one that it was handed.
            if error.folder is not None:
                context["ti"].xcom_push(key=RUN_KEY, value=error.folder)
            raise GateFailure(self._report_failure(context, error)) from None
        except (RequestError, StaleRunError) as error:
            raise AirflowFailException(self._report_failure(context, error)) from None
        except BatchdeployError as error:
            self._report_failure(context, error)
            redact_chain(error)
            raise with_airflow_hint(error, self._action(error)) from error.__cause__
        except AirflowException:
            raise
        except Exception as error:  # noqa: BLE001
            # Airflow logs what is raised, and nobody knows what a message that nobody foresaw holds.
            self.log.error("not foreseen:\n%s", redact(traceback.format_exc()))
            raise AirflowFailException(redact(f"not foreseen: {type(error).__name__}: {error}")) from None
        return self.conclude(answer, context)

    def request(self, context: Any) -> StepRequest:
        """What the step is asked for: by default, to go on with the run that the step before answered."""
        return StepRequest(
            step=self.step,
            folder=self.upstream_value("folder"),
            is_retry=context["ti"].try_number > 1,
            holder=holder_of(context),
        )

    def upstream_value(self, key: str) -> str:
        """What the task before handed on under a key.

        Raises:
            RequestError: nothing, as a task does that was marked as success by hand.
        """
        value = self.run.get(key) if isinstance(self.run, dict) else self.run
        if isinstance(value, str) and value:
            return value
        raise missing_xcom_error(self)

    def conclude(self, answer: Answer, context: Any) -> Answer:
        """What the task hands on."""
        ti = context["ti"]
        if "folder" in answer:
            ti.xcom_push(key=RUN_KEY, value=answer["folder"])
        self._remember_model(answer)
        if answer.pop("outcome") == "identical":
            raise AirflowSkipException(
                f"{answer['partition']} is identical to run {answer['run_id']}: nothing to do"
            )
        self._emit(answer, context)
        return answer

    def on_kill(self) -> None:
        """Ends the other interpreter and all that it started."""
        if self._interpreter is not None:
            self._interpreter.kill()

    def _refuse_lost_output(self, context: Any) -> None:
        """Refuses scores in the version of a bundle that the task runs from, which may lie anywhere."""
        bundle = getattr(context["ti"], "bundle_instance", None)
        if bundle is not None and bundle.version is not None:
            refuse_lost_output(Path(self.file), self.spec, self.root, checkout=Path(bundle.path))

    def _run_when_free(self, request: StepRequest, context: Any) -> Answer:
        """Does the step once no other live DAG run is at work on the partition."""
        answer = self._run_step(request)
        while answer["outcome"] == "busy":
            holder = answer["holder"]
            if _is_active(context["ti"], holder):
                self.wait(context, f"DAG run {holder} is at work on this partition", BUSY_POLL_SECONDS)
            answer = self._run_step(replace(request, expected_holder=holder))
        return answer

    def _run_step(self, request: StepRequest) -> Answer:
        # Imported here, because a DAG file is parsed again and again, and a task runs once.
        from batchdeploy.assembly import open_toolbox

        if self.spec.airflow.python is not None:
            # NOTE: not resolved; a virtual environment's python is a link, and followed it is another one.
            python = self.root / self.spec.airflow.python
            from batchdeploy.airflow.interpreter import Interpreter

            self._interpreter = Interpreter(python, Path(self.file), self.log.info, root=self.root)
            return self._interpreter.take_step(request)
        from batchdeploy.workflows.step import take_step

        tools = open_toolbox(self.file, root=self.root)
        try:
            return take_step(tools, request)
        finally:
            tools.close()

    def wait(self, context: Any, reason: str, seconds: float) -> None:
        """Gives the worker back until later, as long as the deployment lets it wait.

        Raises:
            AirflowRescheduleException: Airflow tries again later.
            AirflowFailException: it has waited long enough.
        """
        limit = timedelta(hours=self.spec.data.wait_hours)
        since = context["ti"].get_first_reschedule_date(context)
        if since is not None and datetime.now(UTC) - since > limit:
            text = f"waited {self.spec.data.wait_hours:g} hours (data.wait_hours): {reason}"
            context["ti"].xcom_push(key=PROBLEM_KEY, value=text)
            raise AirflowFailException(text)
        self.log.info("%s; looking again in %g seconds", reason, seconds)
        raise AirflowRescheduleException(datetime.now(UTC) + timedelta(seconds=seconds))

    def _report_failure(self, context: Any, error: BatchdeployError) -> str:
        """The error in one line, for the log, the exception and the report's page."""
        text = format_one_line(with_airflow_hint(error, self._action(error)))
        context["ti"].xcom_push(key=PROBLEM_KEY, value=text)
        return text

    def _action(self, error: BatchdeployError) -> str | None:
        """What to do in Airflow after a failure; None where no clearing of tasks would help."""
        if isinstance(error, PartitionError):
            return None
        return recovery_action(error, self)

    def _remember_model(self, answer: Answer) -> None:
        """Keeps which version the run takes, for the link to it; a task that fails has that link too."""
        if "model_version" in answer and "model" in answer:
            self.pinned_model = (answer["model"], answer["model_version"])

    def _emit(self, answer: Answer, context: Any) -> None:
        """Tells the assets' events what was made, and which partition where the run has no key."""
        for outlet in self.outlets:
            event = context["outlet_events"][outlet]
            event.extra = {k: v for k, v in answer.items() if k != "folder"}
            if self.events_have_keys and not context.get("partition_key"):
                event.add_partitions(answer["partition"])


def with_assets(arguments: dict[str, Any], kind: str, *assets: Asset) -> dict[str, Any]:
    """The arguments with a step's own inlets or outlets, beside those that ``default_args`` add.

    Args:
        arguments: an operator's, as its constructor gets them.
        kind: ``inlets`` or ``outlets``.
        assets: the step's own; what the arguments themselves say goes over them.
    """
    added = (arguments.get("default_args") or {}).get(kind) or ()
    return {kind: [*assets, *added], **arguments}


def holder_of(context: Any) -> str:
    """How this DAG run is named as a partition's holder."""
    ti = context["ti"]
    return f"{ti.dag_id}/{ti.run_id}"


def _is_active(ti: Any, holder: str) -> bool:
    dag_id, _, run_id = holder.partition("/")
    return bool(ti.get_dr_count(dag_id=dag_id, run_ids=[run_id], states=["queued", "running"]))


def _uses_all_cores(spec: Deployment) -> bool:
    if spec.engine.kind == "local":
        return True
    return spec.engine.remote is None and spec.engine.master.startswith("local")
