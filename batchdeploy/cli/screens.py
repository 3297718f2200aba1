"""Prints the results of commands: tables on a terminal, or one JSON document."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from batchdeploy.cli.answers import answer
from batchdeploy.core.deployment import Deployment
from batchdeploy.core.layout import PAGE
from batchdeploy.core.locations import Location, StoreUri
from batchdeploy.core.records import Manifest, Plan
from batchdeploy.documents import to_plain
from batchdeploy.errors import BatchdeployError, GateRefused, OutsideError, Problem
from batchdeploy.stages.report import render_text
from batchdeploy.workflows.backfill import BackfillResult
from batchdeploy.workflows.run import Outcome
from batchdeploy.workflows.show_run import RunView, render_run
from batchdeploy.workflows.status import Status

if TYPE_CHECKING:
    from batchdeploy.cli.doctor import DoctorCheck

COLOURS = {
    "ok": "green", "watch": "cyan", "warning": "yellow", "critical": "red", "not measured": "dim",
    "quiet": "green", "drift": "yellow", "unmeasured": "dim", "published": "green", "refused": "red",
}  # fmt: skip
COLOURS |= {
    "new": "cyan",
    "changed": "yellow",
    "identical": "dim",
    "failed": "red",
    "missing": "yellow",
    "stopped": "yellow",
}
MISSING = "expected by the calendar, without rows"


class Results(Console):
    """A console that exits with 3 for a closed pipe (`| head`); 1 would mean a refusal."""

    def on_broken_pipe(self) -> None:
        try:
            super().on_broken_pipe()
        except SystemExit:
            raise SystemExit(OutsideError.exit_code) from None


def out() -> Console:
    """The console for results; 120 columns wide if stdout is not a terminal."""
    return Results(width=None if sys.stdout.isatty() else 120, highlight=False)


def print_json(document: Any) -> None:
    """Prints one JSON document to stdout."""
    answer(json.dumps(document, indent=1, ensure_ascii=False))


def show_plans(plans: Sequence[Plan], missing: Sequence[str], *, seconds: float | None, json_: bool) -> None:
    """Prints a line for each partition, and the minutes expected for all."""
    work = [plan for plan in plans if plan.state != "identical"]
    minutes = None if seconds is None else round(len(work) * seconds / 60, 2)
    if json_:
        documents = [{"state": plan.state, "rows": plan.schema.rows} | to_plain(plan) for plan in plans]
        return print_json({"plans": documents, "missing": list(missing), "minutes_expected": minutes})
    table = make_table("partition", "state", "rows>", "model", "data", "run", "why")
    for plan in plans:
        table.add_row(
            plan.partition,
            _coloured(plan.state),
            f"{plan.schema.rows:,}",
            f"{plan.model.name} v{plan.model.version}"
            + (f" ({plan.model.alias})" if plan.model.alias else ""),
            f"{plan.data.tracked} {plan.data.digest[:8]}",
            plan.run_id,
            "; ".join(plan.changes),
        )
    for partition in missing:
        table.add_row(partition, _coloured("missing"), "", "", "", "", MISSING)
    out().print(table)
    expected = "" if minutes is None or not work else f", about {max(minutes, 0.1):.1f} minutes"
    out().print(f"{len(work)} of {len(plans)} to score{expected}")
    return None


def show_outcome(outcome: Outcome, *, json_: bool) -> None:
    """Prints what one run did, and the path of its report."""
    if json_:
        document = {"status": outcome.status, "folder": str(outcome.folder), "seconds": outcome.seconds}
        return print_json(document | {"manifest": to_plain(outcome.manifest)})
    if outcome.status == "identical":
        manifest = outcome.manifest
        out().print(
            f"{manifest.partition} is identical: model (version {manifest.model_version}), data, suite "
            f"and reference were published by run {manifest.run_id} at {manifest.published_at[:19]} UTC. "
            "Nothing to do; --force repeats it.",
            soft_wrap=True,
        )
    else:
        out().print(render_text(outcome.manifest), soft_wrap=True)
        parts = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in outcome.seconds.items())
        out().print(f"time: {sum(outcome.seconds.values()):.1f} s ({parts})", soft_wrap=True)
    page = outcome.folder / PAGE
    drawn = _shown(page)
    if isinstance(page, Path) and not page.is_file():
        drawn = "could not be drawn; the same run again draws it"
    out().print(f"report: {drawn}", soft_wrap=True)
    return None


def show_skipped(partition: str, error: BatchdeployError, *, json_: bool) -> None:
    """Prints that a partition was skipped, because it has no rows yet."""
    if json_:
        return print_json({"status": "skipped", "partition": partition, "reason": str(error.problems[0])})
    return out().print(f"{partition} is skipped (on_missing: skip): {error.problems[0]}", markup=False)


def show_backfill(result: BackfillResult, *, json_: bool) -> None:
    """Prints a line for each partition, and the errors of those that failed."""
    if json_:
        done = [
            {"status": o.status, "seconds": o.seconds, "manifest": to_plain(o.manifest)}
            for o in result.outcomes
        ]
        errors = {p: str(error) for p, error in result.failures}
        return print_json({"partitions": done, "failed": errors, "missing": list(result.missing)})
    table = make_table("partition", "status", "rows>", "quarantined>", "model", "drift", "seconds>", "run")
    for outcome in result.outcomes:
        manifest = outcome.manifest
        table.add_row(
            manifest.partition,
            _coloured(outcome.status),
            f"{manifest.rows_scored:,}",
            f"{manifest.rows_quarantined:,}",
            f"{manifest.model} v{manifest.model_version}",
            _drift(manifest),
            f"{sum(outcome.seconds.values()):.1f}",
            manifest.run_id,
        )
    for partition, error in result.failures:
        table.add_row(partition, _coloured("refused" if isinstance(error, GateRefused) else "failed"))
    for partition in result.missing:
        table.add_row(partition, _coloured("missing"))
    out().print(table)
    for _, error in result.failures:
        Console(stderr=True).print(str(error), markup=False, highlight=False, soft_wrap=True)
    return None


def show_status(deployment: Deployment, statuses: Sequence[Status], *, json_: bool) -> None:
    """Prints the table's partitions; those that were never scored as a count."""
    if json_:
        return print_json({"deployment": deployment.name, "partitions": [_status(s) for s in statuses]})
    table = make_table("partition", "state", "rows>", "model", "drift", "published (UTC)", "run")
    for status in statuses:
        manifest = status.manifest
        if manifest is not None:
            table.add_row(
                status.partition,
                _coloured(status.state),
                f"{manifest.rows_scored:,}",
                f"{manifest.model} v{manifest.model_version}",
                _drift(manifest),
                manifest.published_at[:19],
                manifest.run_id,
            )
        elif status.state != "new":
            table.add_row(status.partition, _coloured(status.state), "", "", "", "", status.run_id or "")
    out().print(table)
    fresh = sum(status.state in ("new", "missing") for status in statuses)
    missing = sum(status.state == "missing" for status in statuses)
    out().print(
        f"{len(statuses) - fresh} partitions, and {fresh} not scored yet"
        + (f"; {missing} of them {MISSING}" if missing else "")
    )
    return None


def show_run(view: RunView, *, json_: bool) -> None:
    """Prints a summary of each record of a run, and whether records and files are whole."""
    if not json_:
        return out().print(render_run(view, folder=_shown(view.folder)), markup=False, soft_wrap=True)
    files = {"compared": view.files.compared, "count": view.files.files, "reason": view.files.reason}
    return print_json(
        {"folder": str(view.folder)}
        | {kind: to_plain(record) for kind, record in view.records.items()}
        | {"whole": view.whole, "problems": [problem._asdict() for problem in view.problems], "files": files}
    )


def show_page(file: Path, run: Location, *, json_: bool) -> None:
    """Where a run's page is on this machine, and its URI if it is a copy."""
    uri = {"uri": str(run / PAGE)} if isinstance(run, StoreUri) else {}
    print_json({"report": str(file.resolve())} | uri) if json_ else print(file)


def show_checked(deployment: Deployment, code: Sequence[Problem], *, json_: bool) -> None:
    """Prints that no problem was found, and what code the model would run."""
    if json_:
        return print_json({"deployment": deployment.name, "problems": [], "code": [str(one) for one in code]})
    out().print(f"{deployment.name}: nothing wrong found")
    if code:
        model = f"{deployment.model.name} {deployment.model.label}"
        lines = [f"note: model {model} runs code of its author when it is loaded:"]
        lines += [f"- {one}" for one in code]
        lines.append("model.code: refuse takes only models that are data, and would refuse this one")
        out().print("\n".join(lines), markup=False, soft_wrap=True)
    return None


def show_project(folder: Path, files: Sequence[str], *, json_: bool) -> None:
    """Prints what was written, and the next command."""
    if json_:
        return print_json({"folder": str(folder), "files": list(files)})
    console = out()
    console.print(f"wrote {len(files)} files to {folder}/, and trained and registered a model there")
    step = "batchdeploy run dags/progression.yaml --partition 2024-01-14"
    console.print(f"next:\n  cd {quote(str(folder))}\n  {step}", markup=False, soft_wrap=True)
    return None


def show_findings(findings: Sequence[DoctorCheck], *, json_: bool) -> None:
    """Prints a line for each check."""
    if json_:
        return print_json([asdict(f) | {"type": f.remedy} for f in findings])
    table = make_table("", "what", "found", "to type")
    for finding in findings:
        missing = Text("missing", "red") if finding.needed else Text("not used", "dim")
        remedy = finding.remedy if finding.needed else None
        mark = Text("ok", "green") if finding.ok else missing
        table.add_row(mark, finding.name, Text(finding.found), Text(remedy or ""))
    return out().print(table)


def _status(status: Status) -> dict[str, Any]:
    manifest = status.manifest
    return {
        "partition": status.partition,
        "state": status.state,
        "run": status.run_id,
        "model_version": manifest and manifest.model_version,
        "rows": manifest and manifest.rows_scored,
        "drift": manifest and manifest.drift,
        "published_at": manifest and manifest.published_at,
    }


def make_table(*names: str) -> Table:
    """A table with these columns; a name that ends in ``>`` is aligned to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(name.rstrip(">"), justify="right" if name.endswith(">") else "left", overflow="fold")
    return table


def _coloured(word: str) -> Text:
    return Text(word, COLOURS.get(word, ""))


def _drift(manifest: Manifest) -> Text:
    named = ", ".join(manifest.drift_alarms[:3]) + (" …" if len(manifest.drift_alarms) > 3 else "")
    return Text(manifest.drift + (f": {named}" if named else ""), COLOURS[manifest.drift])


def _shown(path: Location) -> str:
    """The path relative to the current folder if it is below it, else absolute; or the URI."""
    if isinstance(path, StoreUri):
        return path
    try:
        return str(path.resolve().relative_to(Path.cwd().resolve()))
    except ValueError:
        return str(path)
