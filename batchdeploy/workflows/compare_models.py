"""Compares two models on one partition: both score it, nothing is published, and the result is recorded."""

from __future__ import annotations

from typing import Any

from batchdeploy.core.comparison import Comparison
from batchdeploy.core.locations import Location
from batchdeploy.core.pins import check_partition
from batchdeploy.core.records import ModelPin, Verdict
from batchdeploy.errors import Problem, RequestError
from batchdeploy.kernel.output_differences import output_differences
from batchdeploy.stages.measure_drift import measure_drift
from batchdeploy.stages.resolve import resolve
from batchdeploy.stages.score import score
from batchdeploy.workflows import timing
from batchdeploy.workflows.model_policy import model_policy
from batchdeploy.workflows.toolbox import Toolbox


def compare_models(tools: Toolbox, partition: str, challenger: str) -> tuple[Comparison, Location]:
    """Scores a partition with the deployed model and with a challenger, and compares the scores.

    Args:
        tools: the deployment's toolbox; the deployment must name its model by alias.
        partition: the partition's value.
        challenger: an alias or a version of the same registered model, as `model_policy` reads it.

    Returns:
        The comparison, and the path or URI of its JSON file in the control folder.

    Raises:
        RequestError: the deployment names a version, or the challenger is the champion already.
        PartitionError: the partition is not written in the deployment's format, or has no rows.
    """
    spec = tools.deployment.data.partition
    check_partition(spec.column, partition, spec.format)
    ref = tools.deployment.model
    if ref.version is not None:
        problem = Problem(
            "model.version", "a version is pinned, so there is no alias to move", str(ref.version)
        )
        raise RequestError(str(tools.deployment.name), (problem,), hint="name the model by alias")
    first = tools.registry.resolve(ref)
    second = tools.registry.resolve(model_policy(tools, challenger))
    if first.version == second.version:
        problem = Problem(challenger, f"is version {second.version}, which {first.alias} is already")
        raise RequestError(f"model {first.name}", (problem,))
    tools.own_control()
    at = timing.now()
    (frame, drift), (other, other_drift) = (_scored(tools, partition, pin) for pin in (first, second))
    keys, outputs = tools.deployment.data.keys, tuple(name for name, _ in tools.deployment.outputs)
    rows = len(frame.merge(other[list(keys)], on=list(keys)))
    comparison = Comparison(
        deployment=tools.deployment.name,
        partition=partition,
        model=first.name,
        alias=first.alias or "champion",
        champion=first.version,
        challenger=second.version,
        rows=rows,
        champion_only=len(frame) - rows,
        challenger_only=len(other) - rows,
        champion_drift=drift,
        challenger_drift=other_drift,
        outputs=output_differences(frame, other, keys=keys, outputs=outputs),
        compared_at=at.isoformat(),
    )
    folder = spec.folder(partition)
    name = f"{first.version}-{second.version}-{at:%Y%m%d%H%M%S%f}.json"
    key = tools.comparisons.write(folder, name, comparison)
    return comparison, tools.layout.place(key)


def render_markdown(comparison: Comparison) -> str:
    """The comparison as Markdown, for the reviewer."""
    lines = [
        f"**{comparison.model}**: version {comparison.champion} ({comparison.alias}) against version "
        f"{comparison.challenger}, on {comparison.rows:,} rows of {comparison.partition} that both scored.",
        "",
        "| output | mean now | mean then | mean difference | largest | rows changed |",
        "|---|---|---|---|---|---|",
    ]
    for row in comparison.outputs:
        numbers = (row.champion_mean, row.challenger_mean, row.mean_difference, row.max_difference)
        shown = " | ".join("" if number is None else f"{number:.4g}" for number in numbers)
        lines.append(f"| {row.name} | {shown} | {row.changed_share:.1%} |")
    if comparison.champion_only or comparison.challenger_only:
        lines += [
            "",
            f"Scored by one model only: {comparison.champion_only} now, {comparison.challenger_only} then.",
        ]
    lines += ["", f"Drift verdict: {comparison.champion_drift} now, {comparison.challenger_drift} then."]
    lines += ["", f"Approving moves `{comparison.alias}` to version {comparison.challenger}."]
    return "\n".join(lines)


def _scored(tools: Toolbox, partition: str, pin: ModelPin) -> tuple[Any, Verdict]:
    at = timing.now()
    planned = resolve(tools.deployment, partition, tools.to_resolve(), now=at.isoformat(), model=pin)
    scored = score(planned, tools.to_score(), now=at, done=lambda _rows: None)
    try:
        drift = measure_drift(planned, scored, references=tools.references)
        return tools.publishing.staging.staged(planned.folder, scored), drift.verdict
    finally:
        tools.publishing.staging.discard(scored.attempt)
