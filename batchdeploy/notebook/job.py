"""A deployment as an object."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from batchdeploy import assembly
from batchdeploy.core.comparison import Comparison
from batchdeploy.core.deployment import OnMissing
from batchdeploy.core.layout import run_key
from batchdeploy.core.locations import Location
from batchdeploy.core.maintenance import CleanupReport
from batchdeploy.core.pins import check_partition
from batchdeploy.core.reader_snippets import reader_snippets
from batchdeploy.core.records import Manifest, Plan
from batchdeploy.core.request import Decision
from batchdeploy.errors import BackfillRefused, Problem, RequestError
from batchdeploy.notebook.collected_runs import CollectedRuns
from batchdeploy.notebook.run import Run
from batchdeploy.notebook.safe_errors import shown_safely
from batchdeploy.notebook.shown_run import ShownRun
from batchdeploy.workflows import maintenance, timing
from batchdeploy.workflows.backfill import backfill
from batchdeploy.workflows.check import check
from batchdeploy.workflows.compare_models import compare_models
from batchdeploy.workflows.find_run import find_run
from batchdeploy.workflows.model_policy import model_policy
from batchdeploy.workflows.plan import keep_model, plan
from batchdeploy.workflows.plan_range import PlannedRange, plan_range
from batchdeploy.workflows.promote import promote
from batchdeploy.workflows.rollback import Rollback, rollback
from batchdeploy.workflows.run import Outcome, PartitionSkipped, run
from batchdeploy.workflows.show_run import show_run
from batchdeploy.workflows.status import Status, statuses


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
    def partitions(self) -> tuple[str, ...]:
        """All values of the partition column that there are rows for, sorted."""
        return self._tools.source.partitions(self._tools.deployment.data)

    @shown_safely()
    def check(self) -> tuple[Problem, ...]:
        """Everything that is wrong and can be known before any row is read; empty where nothing is."""
        return check(self._tools).problems

    @shown_safely()
    def status(self) -> tuple[Status, ...]:
        """State and run of each partition that has rows or scores, or that the calendar expects."""
        return tuple(statuses(self._tools))

    @shown_safely()
    def plan(self, partition: str, *, evolve: bool = False) -> Plan:
        """What a run of the partition would do: every ref pinned; caches a new model, writes nothing else."""
        planned = plan(self._tools, partition, evolve=evolve)
        keep_model(self._tools, planned.model)
        return planned

    @shown_safely()
    def plan_range(
        self, first: str, last: str, *, evolve: bool = False, on_missing: OnMissing | None = None
    ) -> PlannedRange:
        """What a backfill from first to last would do: a plan for each partition, and which are missing.

        Raises:
            PartitionError: no partition in the range, or one that is missing where that fails.
        """
        policy = on_missing or self._tools.deployment.data.on_missing
        # A plan does not wait for rows; it names the partitions that a backfill would wait for.
        on_missing = "skip" if policy == "wait" else policy
        found = plan_range(self._tools, (first, last), evolve=evolve, on_missing=on_missing)
        for planned in found.plans[:1]:
            keep_model(self._tools, planned.model)
        return found

    @shown_safely()
    def run(
        self,
        partition: str,
        *,
        repeat: bool = False,
        evolve: bool = False,
        on_missing: OnMissing | None = None,
    ) -> Run:
        """Scores and publishes one partition, unless the same pins are already published.

        Args:
            partition: the partition's value.
            repeat: scores and publishes the partition even if the same pins are already published.
            evolve: lets the table get another model's scores, or other columns, than it has.
            on_missing: in place of the deployment's ``data.on_missing``. With ``skip``, a partition without
                rows gives a `Run` whose status is ``skipped``.

        Raises:
            GateRefused: the rows or the scores did not pass; the evidence is on disk.
            PartitionError: the partition has no rows, and those are not skipped.
            RequestError: the partition, the model or a file is not what it should be.
        """
        try:
            outcome = run(self._tools, partition, repeat=repeat, evolve=evolve, on_missing=on_missing)
        except PartitionSkipped as skipped:
            return Run(status="skipped", partition=partition, reason=str(skipped.problems[0]))
        return self._run(outcome)

    @shown_safely()
    def backfill(
        self,
        first: str,
        last: str,
        *,
        model: str | int | None = None,
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
            model: an alias or a version in place of the deployment's ``backfill.model``.
            done: called with each run as it ends.
            evolve: lets the table get another model's scores, or other columns, than it has.
            on_missing: in place of the deployment's ``data.on_missing``.

        Raises:
            BackfillRefused: gates refused partitions, each of which it names; it has the other runs, too.
            BatchdeployError: as `run`.
        """
        watcher = CollectedRuns(self._run, done)
        result = backfill(
            self._tools,
            (first, last),
            model=None if model is None else model_policy(self._tools, model),
            evolve=evolve,
            on_missing=on_missing,
            watcher=watcher,
        )
        error = result.error
        if isinstance(error, BackfillRefused):
            error.runs = tuple(watcher.runs)
        if error is not None:
            raise error
        return tuple(watcher.runs)

    @shown_safely()
    def published(self, partition: str) -> Run:
        """The run that is published now.

        Raises:
            RequestError: the partition is not published.
        """
        spec = self._tools.deployment.data.partition
        folder = spec.folder(check_partition(spec.column, partition, spec.format))
        published = self._tools.publishing.table.published_run(folder)
        if published is None:
            raise RequestError(folder, "not published yet", hint=f'job.run("{partition}")')
        return self._run(
            Outcome(
                status="identical",
                folder=self._tools.layout.place(run_key(folder, published)),
                manifest=self._tools.records.read(run_key(folder, published), Manifest),
            )
        )

    @shown_safely()
    def show(self, run: str, *, verify: bool = False) -> ShownRun:
        """The records of a run, whether it was published or not, and whether records and files are whole.

        Args:
            run: the run's id, the beginning of it or of an attempt's name, or the run's folder.
            verify: reads all files, also those of more than 256 MiB in all, and those in an object store.

        Raises:
            RequestError: no run of this deployment matches, or several do.
        """
        opened = partial(assembly.records_in, stores=self._tools.deployment.storage)
        hint, control = "job.status() lists them", self._tools.layout.control_location
        folder = find_run(run, control, records_in=opened, hint=hint)
        return ShownRun(show_run(folder, opened(folder), lambda: self._tools, verify=verify))

    @shown_safely()
    def rollback(self, partition: str, *, to: str | None = None) -> Rollback:
        """Makes an earlier run's scores of a partition the visible ones again, at once; nothing is scored.

        Args:
            partition: the partition's value.
            to: the id of the run to go back to; None for the one before.

        Raises:
            PartitionError: there is no such partition, or no such earlier run.
            TableError: the table is another deployment's.
            StaleRunError: another run has published the partition meanwhile.
        """
        return rollback(self._tools, partition, to=to)

    @shown_safely()
    def recover(self) -> CleanupReport:
        """Completes publishes of killed runs, and removes their leftovers; every run does it, too."""
        return maintenance.recover(self._tools)

    @shown_safely()
    def collect_garbage(self) -> CleanupReport:
        """Recovers, then removes earlier generations beyond ``publish.keep_generations``, and leftovers."""
        return maintenance.collect_garbage(self._tools)

    @shown_safely()
    def compare_models(
        self, partition: str, challenger: str | int = "challenger"
    ) -> tuple[Comparison, Location]:
        """Scores a partition with the deployed model and with a challenger, and publishes neither.

        Args:
            partition: the partition's value.
            challenger: an alias or a version of the same registered model.

        Returns:
            The comparison, and the file that holds it, for `promote`.

        Raises:
            RequestError: the deployment names a version, or the challenger is the champion already.
        """
        return compare_models(self._tools, partition, str(challenger))

    @shown_safely()
    def promote(self, comparison: Location | str, *, by: str | None = None) -> Comparison:
        """Moves the alias from a comparison's champion to its challenger, and keeps who decided.

        Args:
            comparison: the file that `compare_models` gave.
            by: who approves.

        Raises:
            RequestError: there is no such comparison, or the alias has moved since.
        """
        decision = Decision(approved=True, by=by, at=timing.now().isoformat())
        return promote(self._tools, comparison, decision)

    @shown_safely()
    def reject(self, comparison: Location | str, *, by: str | None = None) -> None:
        """Records that a comparison's challenger was rejected; the alias stays where it is.

        Args:
            comparison: the file that `compare_models` gave.
            by: who rejects.

        Raises:
            PromotionRefused: always, once the rejection is recorded.
            RequestError: there is no such comparison.
        """
        promote(self._tools, comparison, Decision(approved=False, by=by, at=timing.now().isoformat()))

    @shown_safely()
    def read_sql(self) -> dict[str, str]:
        """The lines that read the published scores, by engine: DuckDB, pandas, Polars, Spark."""
        return reader_snippets(self._tools.deployment, str(self._tools.layout.table))

    def _run(self, outcome: Outcome) -> Run:
        return Run.of(self._tools, outcome)
