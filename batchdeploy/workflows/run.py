"""Runs one partition, from the plan to published scores and a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from batchdeploy.core.deployment import OnMissing
from batchdeploy.core.locations import Location
from batchdeploy.core.pins import check_partition
from batchdeploy.core.records import Manifest, Plan
from batchdeploy.errors import PartitionError
from batchdeploy.stages.report import AttemptRecords
from batchdeploy.workflows.attempt import attempt, begin_attempt
from batchdeploy.workflows.maintenance import recover
from batchdeploy.workflows.plan import plan
from batchdeploy.workflows.report import redraw_report, try_draw_report
from batchdeploy.workflows.run_folders import key_of_attempt, key_of_run, run_folder
from batchdeploy.workflows.run_steps import step_drift, step_publish, step_score, step_validate
from batchdeploy.workflows.timing import Progress, StageClock, no_progress
from batchdeploy.workflows.toolbox import Toolbox
from batchdeploy.workflows.wait_for_rows import wait_for_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a partition: ``published`` now, or ``identical`` to what was already published.

    Attributes:
        seconds: the duration of each stage that was executed.
    """

    status: Literal["published", "identical"]
    folder: Location
    manifest: Manifest
    seconds: Mapping[str, float] = field(default_factory=dict)


class PartitionSkipped(PartitionError):
    """The partition has no rows, and ``on_missing`` is ``skip``, so nothing was done."""


def run(
    tools: Toolbox,
    partition: str,
    *,
    repeat: bool = False,
    evolve: bool = False,
    on_missing: OnMissing | None = None,
    progress: Progress = no_progress,
) -> Outcome:
    """Plans and executes one partition.

    Args:
        tools: the deployment's toolbox.
        partition: the partition's value.
        repeat: scores and publishes the partition even if the same pins are already published.
        evolve: allows a change of the table's model name or columns.
        on_missing: overrides the deployment's ``data.on_missing``.
        progress: called with each stage's name when it begins (0 rows), and with rows as they are scored.

    Raises:
        GateRefused: a gate refused; the evidence is in the run's folder, nothing was published.
        PartitionSkipped: the partition has no rows, and ``on_missing`` is ``skip``.
        PartitionError: the partition has no rows, or its value does not match the deployment's format.
    """
    spec = tools.deployment.data.partition
    check_partition(spec.column, partition, spec.format)
    policy = on_missing or tools.deployment.data.on_missing
    clock = StageClock(progress)
    with clock.stage("resolve"):
        recover(tools)
        try:
            planned = wait_for_rows(tools, lambda: plan(tools, partition, evolve=evolve), policy)
        except PartitionError as error:
            if policy != "skip":
                raise
            raise PartitionSkipped(error.where, error.problems, hint=error.hint) from error
    return execute(tools, planned, repeat=repeat, clock=clock)


def execute(
    tools: Toolbox, planned: Plan, *, repeat: bool = False, clock: StageClock | None = None
) -> Outcome:
    """Executes a plan, unless the same pins are already published.

    Raises:
        GateRefused: a gate refused; the evidence is in the run's folder, nothing was published.
    """
    key, folder, clock = key_of_run(planned), run_folder(tools, planned), clock or StageClock()
    skip = planned.state == "identical" and not repeat
    if skip and (manifest := tools.records.find(key, Manifest)) is not None:
        redraw_report(tools, key)
        return Outcome(status="identical", folder=folder, manifest=manifest, seconds=clock.seconds)
    planned = begin_attempt(tools, planned)
    with attempt(tools, planned):
        manifest, records = _take_steps(tools, planned, clock)
        try_draw_report(tools, planned, clock, records)
    return Outcome(status="published", folder=folder, manifest=manifest, seconds=clock.seconds)


def _take_steps(tools: Toolbox, planned: Plan, clock: StageClock) -> tuple[Manifest, AttemptRecords]:
    with clock.stage("validate"):
        check = step_validate(tools, planned)
    with clock.stage("score") as done:
        scored = step_score(tools, planned, done=done)
    try:
        with clock.stage("drift"):
            drift = step_drift(tools, planned, scored)
        with clock.stage("publish"):
            manifest = step_publish(tools, planned, check=check, scored=scored, drift=drift)
    except BaseException:
        tools.publishing.staging.discard(scored.attempt)
        raise
    return manifest, AttemptRecords(
        check=check,
        scored=scored,
        drift=drift,
        refusal=None,
        published=manifest,
        printed=tools.records.find_output(key_of_attempt(planned)),
    )
