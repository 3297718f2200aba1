"""The notebook's door: a deployment as an object, and a run with its scores and drift as DataFrames."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from batchdeploy import assembly
from batchdeploy.core.deployment import OnMissing, PartitionSpec
from batchdeploy.core.pins import check_partition
from batchdeploy.core.records import DriftReport, Manifest, Plan
from batchdeploy.core.system_errors import told_as_ours
from batchdeploy.errors import (
    BackfillRefused,
    BatchdeployError,
    GateRefused,
    OutsideError,
    PartitionError,
    Problem,
    RequestError,
)
from batchdeploy.redaction import RedactedCause, redact, redact_chain
from batchdeploy.storage import run_records
from batchdeploy.workflows import execution
from batchdeploy.workflows.backfill import execute_range, missing_policy, plan_range

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def shown_safely() -> Iterator[None]:
    """Lets errors out without secrets, in what led to them too: a notebook shows, and keeps, all of it."""
    try:
        yield
    except BatchdeployError as error:
        redact_chain(error)
        raise
    except Exception as error:
        told = "".join(traceback.format_exception(error))
        if redact(told) == told:
            raise
        problem = Problem(type(error).__name__, "not foreseen", str(error))
        raise OutsideError("batchdeploy itself", (problem,)) from RedactedCause(redact(told))


@shown_safely()
def load(file: str | os.PathLike[str]) -> Job:
    """The job that a deployment file describes.

    Raises:
        DeploymentError: the file is missing or wrong; with every problem found.
    """
    return Job(assembly.open_toolbox(file))


class Job:
    """One deployment. Close it, or use it in a ``with`` block, to stop the Spark session it started."""

    def __init__(self, tools: assembly.LocalToolbox) -> None:
        self._tools = tools

    def __repr__(self) -> str:
        return f"Job({self._tools.deployment.name!r}, {str(self._tools.file)!r})"

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops the engine where one was started."""
        self._tools.close()

    @shown_safely()
    @told_as_ours("the job")
    def partitions(self) -> tuple[str, ...]:
        """All values of the partition column that there are rows for, sorted."""
        return self._tools.store.partitions(self._tools.deployment.data)

    @shown_safely()
    @told_as_ours("the job")
    def plan(self, partition: str, *, evolve: bool = False) -> Plan:
        """What a run of the partition would do: every ref pinned, nothing written."""
        return execution.plan(self._tools, partition, evolve=evolve)

    @shown_safely()
    @told_as_ours("the job")
    def run(self, partition: str, *, evolve: bool = False, on_missing: OnMissing | None = None) -> Run:
        """Scores and publishes one partition; what is published already with the same pins stays as it is.

        Args:
            partition: the partition's value.
            evolve: lets the table get another model's scores, or other columns, than it has.
            on_missing: in place of the deployment's ``data.on_missing``. With ``skip``, a partition without
                rows gives a `Run` whose status is ``skipped``.

        Raises:
            GateRefused: the rows or the scores did not pass; the evidence is on disk.
            PartitionError: the partition has no rows, and those are not skipped.
            RequestError: the partition, the model or a file is not what it should be.
        """
        spec = self._tools.deployment.data.partition
        check_partition(spec.column, partition, spec.format)
        try:
            with missing_policy(self._tools, on_missing) as policy:
                return self._run(execution.run(self._tools, partition, evolve=evolve))
        except PartitionError as error:
            if policy != "skip":
                raise
            return Run(status="skipped", partition=partition, reason=str(error.problems[0]))

    @shown_safely()
    @told_as_ours("the job")
    def backfill(
        self,
        first: str,
        last: str,
        *,
        done: Callable[[Run], None] | None = None,
        evolve: bool = False,
        on_missing: OnMissing | None = None,
    ) -> tuple[Run, ...]:
        """Runs every partition from first to last, both included, in one engine session.

        A partition that a gate refuses does not stop the others. Anything else that fails ends the backfill
        there; what was published stays, and the same call goes on from it.

        Args:
            first: the first partition.
            last: the last one.
            done: told of each run as it ends.
            evolve: lets the table get another model's scores, or other columns, than it has.
            on_missing: in place of the deployment's ``data.on_missing``.

        Raises:
            BackfillRefused: gates refused partitions, each of which it names; it has the other runs, too.
            BatchdeployError: as `run`.
        """
        runs: list[Run] = []
        refusals: dict[str, GateRefused] = {}
        self._tools.maintenance.recover(now=execution.now().timestamp())
        found = plan_range(self._tools, (first, last), evolve=evolve, on_missing=on_missing)
        for partition, ended in execute_range(self._tools, found.plans, lambda _: execution.silent):
            if isinstance(ended, GateRefused):
                refusals[partition] = ended
            elif isinstance(ended, BatchdeployError):
                raise ended
            else:
                runs.append(self._run(ended))
                if done is not None:
                    done(runs[-1])
        if refusals:
            raise _refused(self._tools.deployment.data.partition, refusals, tuple(runs))
        return tuple(runs)

    @shown_safely()
    @told_as_ours("the job")
    def published(self, partition: str) -> Run:
        """The run whose scores are visible now.

        Raises:
            RequestError: the partition is not published.
        """
        spec = self._tools.deployment.data.partition
        folder = spec.folder(check_partition(spec.column, partition, spec.format))
        published = self._tools.table.published_run(folder)
        if published is None:
            raise RequestError(folder, "not published yet", hint=f'job.run("{partition}")')
        return self._run(
            execution.Outcome(
                status="identical",
                folder=self._tools.layout.run(folder, published),
                manifest=run_records.read(self._tools.layout.run(folder, published), Manifest),
            )
        )

    def _run(self, outcome: execution.Outcome) -> Run:
        spec = self._tools.deployment.data.partition
        files = self._tools.table.files(spec.folder(outcome.manifest.partition))
        return Run(
            status=outcome.status,
            partition=outcome.manifest.partition,
            found=(outcome.manifest, outcome.folder),
            seconds=outcome.seconds,
            files=tuple(file if "://" in file else Path(file) for file in files),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of one partition: its manifest, and its tables as DataFrames.

    Attributes:
        status: ``published`` by this call, ``identical``: visible already with the same pins, or ``skipped``:
            there are no rows, and ``on_missing`` says to go on without.
        partition: the partition's value.
        found: the manifest, and the folder with the run's records and its report; None where it was skipped.
        files: the published Parquet files; URIs where they are in an object store.
        seconds: what each stage took that this call went through.
        reason: why it was skipped.
    """

    status: Literal["published", "identical", "skipped"]
    partition: str
    found: tuple[Manifest, Path] | None = field(default=None, repr=False)
    files: tuple[Path | str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""

    @property
    def manifest(self) -> Manifest:
        """What the run did.

        Raises:
            PartitionError: it was skipped; as for all that such a run has not.
        """
        return self._found()[0]

    @property
    def folder(self) -> Path:
        """The run's records and its report."""
        return self._found()[1]

    def _found(self) -> tuple[Manifest, Path]:
        if self.found is None:
            problem = Problem(self.partition, "was skipped (on_missing: skip)", self.reason)
            raise PartitionError("the run", (problem,), hint="look at its status first")
        return self.found

    @property
    def scores(self) -> pd.DataFrame:
        """The published rows: keys, kept columns, outputs, and what scored them when."""
        import pandas as pd

        self._found()
        return pd.concat([pd.read_parquet(file) for file in self.files], ignore_index=True)

    @property
    def drift(self) -> pd.DataFrame:
        """The drift table: a row for each column and statistic, alarms first."""
        import pandas as pd

        report = run_records.read(self.folder, DriftReport)
        names = ["column", "role", "statistic", "value", "reference", "limit", "p_value", "q_value", "alarm"]
        rows = [{name: getattr(row, name) for name in names} for row in report.statistics]
        return pd.DataFrame(rows, columns=names).sort_values(
            ["alarm", "q_value"], ascending=[False, True], ignore_index=True
        )

    @property
    def report(self) -> Path:
        """The HTML report; opens from disk."""
        return self.folder / "report.html"

    @property
    def printed(self) -> str:
        """What the model printed while it was loaded and asked; empty where it printed nothing."""
        return run_records.find_output(self.folder)

    def _repr_html_(self) -> str:
        from html import escape

        from batchdeploy.stages.report import render_text

        if self.found is None:
            return f"<pre>{escape(f'{self.partition} is skipped (on_missing: skip): {self.reason}')}</pre>"
        link = f'<a href="{escape(self.report.as_uri())}">report</a>'
        return f"<pre>{escape(render_text(self.manifest))}</pre>{link}"


def _refused(
    spec: PartitionSpec, refusals: Mapping[str, GateRefused], runs: tuple[Run, ...]
) -> BackfillRefused:
    """What a backfill raises at its end where gates refused some of it."""
    problems = tuple(
        Problem(spec.folder(partition), str(refusal.problems[0])) for partition, refusal in refusals.items()
    )
    where = f"a backfill of {len(refusals) + len(runs)} partitions"
    hint = "the others are published; the error's refusals has each of these, with run_id and report"
    error = BackfillRefused(where, problems, hint=hint)
    error.refusals, error.runs = dict(refusals), runs
    return error
