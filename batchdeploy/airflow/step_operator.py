"""Base operator: claim, retries, failure report, XCom."""

from __future__ import annotations

import os
import traceback
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn
from urllib.parse import urlsplit, urlunsplit

from airflow.sdk import BaseOperator, ExceptionRetryPolicy, RetryAction, RetryPolicy, RetryRule
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
from batchdeploy.core.registry_uris import registry_uris
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
    """Runs one step. Retries infrastructure failures with growing delays, but never a refusal or bad data.

    Args:
        deployment: the deployment's file, relative to the DAG file.
        environment: the environment whose Airflow Variable, ``batchdeploy_ENVIRONMENT``, has the values of
            variables in the deployment that the worker's process lacks.
        run: the upstream step's output, such as ``plan.output``; it also sets the dependency.
        retries, retry_delay, retry_exponential_backoff, retry_policy: as in `airflow.sdk.BaseOperator`.
        arguments: its other arguments. They override ``default_args`` of the DAG or the group, which
            override the deployment and the operator's defaults.
    """

    step: ClassVar[Step]
    heavy: ClassVar[bool] = False
    # NOTE: an event with a partition key triggers only DAGs that are scheduled on an asset's partitions.
    events_have_keys: ClassVar[bool] = True
    template_fields: Collection[str] = ("run", "control", "environment")
    operator_extra_links = (ReportLink(), ModelLink())
    ui_color = "#eef2ff"

    # NOTE: Airflow looks for an argument's default in the signature: for a task of its own below what
    # default_args say, and for one that is mapped, of which the scheduler sees nothing else.
    def __init__(
        self,
        *,
        deployment: str | DeploymentSource,
        environment: str | None = None,
        run: Any = None,
        retries: int = 3,
        retry_delay: timedelta | float = timedelta(seconds=30),
        retry_exponential_backoff: float = 2.0,
        retry_policy: RetryPolicy | None = RETRY_POLICY,
        **arguments: Any,
    ) -> None:
        source = find_source(deployment, arguments.get("dag"), environment)
        spec = source.spec
        default_args = arguments.get("default_args") or {}
        arguments.setdefault("owner", default_args.get("owner", spec.owner))
        if self.heavy and _uses_all_cores(spec):
            # This engine uses every core, and a backfill starts ten runs at a time.
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
        self.environment = source.environment
        self.spec = spec
        self.deployment_name = spec.name
        self.pinned_model: tuple[str, int] | None = None
        self._interpreter: Interpreter | None = None

    @property
    def registry_page(self) -> str | None:
        """The URL of the registry's UI if it is a server."""
        uri = registry_uris(self.spec.model, os.environ, self.root).registry
        if not uri.startswith(("http://", "https://")):
            return None
        parts = urlsplit(uri)
        # Drops credentials: Airflow's database stores the link, and everybody who sees the task sees it.
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))

    def execute(self, context: Any) -> Answer:
        """Runs the step.

        Raises:
            AirflowFailException: a gate refused or the request was wrong; in one line.
            AirflowSkipException: an identical run is already published.
            OutsideError: something outside failed; Airflow retries.
        """
        if isinstance(self.run, dict):
            self._remember_model(self.run)
        try:
            # Imported here, because parsing a DAG file does not need it.
            from batchdeploy.airflow.task_environment import task_environment

            with task_environment(Path(self.file), self.environment) as self.spec:
                self._refuse_lost_output(context)
                answer = self._run_when_free(self.request(context), context)
        except GateRefused as error:
            # A step that planned again was refused in another folder than the upstream task's.
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
            # Airflow logs the exception, and the message of an unexpected one may hold secrets.
            self.log.error("not foreseen:\n%s", redact(traceback.format_exc()))
            raise AirflowFailException(redact(f"not foreseen: {type(error).__name__}: {error}")) from None
        return self.conclude(answer, context)

    def request(self, context: Any) -> StepRequest:
        """The step's request; by default it continues the upstream task's run."""
        return StepRequest(
            step=self.step,
            folder=self.upstream_value("folder"),
            host=self.run.get("host") if isinstance(self.run, dict) else None,
            is_retry=context["ti"].try_number > 1,
            holder=holder_of(context),
        )

    def upstream_value(self, key: str) -> str:
        """The value that the upstream task pushed under a key.

        Raises:
            RequestError: there is none, for example because the task was marked as success by hand.
        """
        value = self.run.get(key) if isinstance(self.run, dict) else self.run
        if isinstance(value, str) and value:
            return value
        raise missing_xcom_error(self)

    def conclude(self, answer: Answer, context: Any) -> Answer:
        """Emits events and returns the value that the task pushes to XCom."""
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
        """Kills the other interpreter and all its children."""
        if self._interpreter is not None:
            self._interpreter.kill()

    def _refuse_lost_output(self, context: Any) -> None:
        """Refuses to write scores into the checkout of the DAG bundle that the task runs from."""
        bundle = getattr(context["ti"], "bundle_instance", None)
        if bundle is not None and bundle.version is not None:
            refuse_lost_output(Path(self.file), self.spec, self.root, checkout=Path(bundle.path))

    def _run_when_free(self, request: StepRequest, context: Any) -> Answer:
        """Runs the step once no other active DAG run holds the partition."""
        answer = self._run_step(request)
        while answer["outcome"] == "busy":
            holder = answer["holder"]
            if _is_active(context["ti"], holder):
                self.wait(context, f"DAG run {holder} is at work on this partition", BUSY_POLL_SECONDS)
            answer = self._run_step(replace(request, expected_holder=holder))
        return answer

    def _run_step(self, request: StepRequest) -> Answer:
        # Imported here, because Airflow parses DAG files repeatedly, but runs a task once.
        from batchdeploy.assembly import open_toolbox

        if self.spec.airflow.python is not None:
            # NOTE: do not resolve the link: a virtual environment's python then loses its environment.
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
        """Reschedules the task, until the deployment's waiting time is over.

        Raises:
            AirflowRescheduleException: Airflow runs the task again later.
            AirflowFailException: the waiting time is over.
        """
        limit = timedelta(hours=self.spec.data.wait_hours)
        since = context["ti"].get_first_reschedule_date(context)
        if since is not None and datetime.now(UTC) - since > limit:
            self.give_up(context, reason)
        self.log.info("%s; looking again in %g seconds", reason, seconds)
        raise AirflowRescheduleException(datetime.now(UTC) + timedelta(seconds=seconds))

    def give_up(self, context: Any, reason: str) -> NoReturn:
        """Fails the task, because the deployment's waiting time is over."""
        text = f"waited {self.spec.data.wait_hours:g} hours (data.wait_hours): {reason}"
        context["ti"].xcom_push(key=PROBLEM_KEY, value=text)
        raise AirflowFailException(text)

    def _report_failure(self, context: Any, error: BatchdeployError) -> str:
        """Pushes the error's one-line text for the Report tab, and returns it."""
        text = format_one_line(with_airflow_hint(error, self._action(error)))
        context["ti"].xcom_push(key=PROBLEM_KEY, value=text)
        return text

    def _action(self, error: BatchdeployError) -> str | None:
        """The action to take in Airflow; None if clearing tasks does not help."""
        if isinstance(error, PartitionError):
            return None
        return recovery_action(error, self)

    def _remember_model(self, answer: Answer) -> None:
        """Remembers the run's model version for the link, which a failed task shows, too."""
        if "model_version" in answer and "model" in answer:
            self.pinned_model = (answer["model"], answer["model_version"])

    def _emit(self, answer: Answer, context: Any) -> None:
        """Adds the answer to the assets' events, and the partition if the DAG run has no key."""
        for outlet in self.outlets:
            event = context["outlet_events"][outlet]
            event.extra = {k: v for k, v in answer.items() if k not in ("folder", "host")}
            if self.events_have_keys and not context.get("partition_key"):
                event.add_partitions(answer["partition"])


def holder_of(context: Any) -> str:
    """The name of this DAG run as holder of a partition."""
    ti = context["ti"]
    return f"{ti.dag_id}/{ti.run_id}"


def _is_active(ti: Any, holder: str) -> bool:
    dag_id, _, run_id = holder.partition("/")
    return bool(ti.get_dr_count(dag_id=dag_id, run_ids=[run_id], states=["queued", "running"]))


def _uses_all_cores(spec: Deployment) -> bool:
    if spec.engine.kind == "local":
        return True
    return spec.engine.remote is None and spec.engine.master.startswith("local")
