"""The commands for two versions of a model: compare, promote."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from batchdeploy.cli.commands import DeploymentFile, Json, app, open_deployment
from batchdeploy.cli.progress import print_stage
from batchdeploy.cli.screens import make_table, out, print_json
from batchdeploy.core.comparison import Comparison
from batchdeploy.core.request import Decision
from batchdeploy.documents import to_plain
from batchdeploy.workflows import timing
from batchdeploy.workflows.compare_models import compare_models
from batchdeploy.workflows.promote import promote as decide


@app.command()
def compare(
    deployment: DeploymentFile,
    challenger: Annotated[
        str,
        typer.Option("--challenger", metavar="REF", help="ALIAS, @ALIAS, NAME@ALIAS or a version number"),
    ],
    partition: Annotated[str, typer.Option("--partition", "-p", help="one value of the partition column")],
    json_: Json = False,
) -> None:
    """Score one partition with the deployed model and with a challenger, and publish neither.

    Writes the comparison into the control folder and prints its path, for `promote`. Deployments that
    name the model by version have no alias to move, and are refused.
    """
    with open_deployment(deployment) as tools:
        print_stage(partition, f"compare with {challenger}")
        comparison, file = compare_models(tools, partition, challenger)
    if json_:
        print_json({"comparison": str(file)} | to_plain(comparison))
        return
    _show_comparison(comparison)
    out().print(f"comparison: {file}", markup=False, soft_wrap=True)
    command = f"batchdeploy promote {quote(str(deployment))} {quote(str(file))} --by NAME"
    out().print(f"next: {command}", markup=False, soft_wrap=True)


@app.command()
def promote(
    deployment: DeploymentFile,
    comparison: Annotated[Path, typer.Argument(metavar="COMPARISON", help="the file that `compare` wrote")],
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="who decided; recorded")] = None,
    reject: Annotated[
        bool, typer.Option("--reject", help="record a rejection, leave the alias, and exit with 1")
    ] = False,
    json_: Json = False,
) -> None:
    """Move the alias from a comparison's champion to its challenger, and record who decided.

    An alias that has moved since the comparison is left where it is (exit code 2). Decisions are in
    promotions.jsonl of the control folder.
    """
    decision = Decision(approved=not reject, by=by, at=timing.now().isoformat())
    with open_deployment(deployment) as tools:
        moved = decide(tools, comparison, decision)
    if json_:
        print_json(to_plain(moved))
        return
    text = f"{moved.model}: alias {moved.alias} moved from version {moved.champion} to {moved.challenger}"
    out().print(text, markup=False, soft_wrap=True)


def _show_comparison(comparison: Comparison) -> None:
    one, other = f"v{comparison.champion} ({comparison.alias})", f"v{comparison.challenger}"
    out().print(
        f"{comparison.model}: {one} against {other}, on {comparison.rows:,} rows of {comparison.partition} "
        "that both scored",
        markup=False,
        soft_wrap=True,
    )
    table = make_table("output", f"mean {one}>", f"mean {other}>", "mean difference>", "largest>", "changed>")
    for row in comparison.outputs:
        numbers = (row.champion_mean, row.challenger_mean, row.mean_difference, row.max_difference)
        shown = ("" if number is None else f"{number:.4g}" for number in numbers)
        table.add_row(row.name, *shown, f"{row.changed_share:.1%}")
    out().print(table)
    if comparison.champion_only or comparison.challenger_only:
        counts = f"{comparison.champion_only:,} by {one}, {comparison.challenger_only:,} by {other}"
        out().print(f"scored by one only: {counts}", markup=False)
    drift = f"{comparison.champion_drift} with {one}, {comparison.challenger_drift} with {other}"
    out().print(f"drift: {drift}", markup=False)
