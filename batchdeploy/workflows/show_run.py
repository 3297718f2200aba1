"""Collects the records of a run, and checks whether records and files are complete and unchanged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from batchdeploy.core.drift_sentences import describe, moved
from batchdeploy.core.layout import OUTPUT, quarantine_key
from batchdeploy.core.locations import Location
from batchdeploy.core.records import CheckReport, DriftReport, Manifest, Plan, ScoredBatch
from batchdeploy.errors import BatchdeployError, DataError, Problem
from batchdeploy.storage.run_records import FILES, RunRecords
from batchdeploy.workflows.toolbox import Toolbox

# Files with more bytes in total are read only on request.
MOST_READ = 2**28
Compared = Literal["content", "size", "nothing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCheck:
    """How the files of a run were compared with its manifest.

    Attributes:
        compared: ``content``: by SHA-256; ``size``: by their sizes only; ``nothing``: see ``reason``.
        files: the number of files in the manifest, published and quarantined.
        reason: why files were not compared; empty if they were.
    """

    compared: Compared
    files: int = 0
    problems: tuple[Problem, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """The records of a run or an attempt.

    Attributes:
        folder: where the records are.
        records: the records by their type's name: ``Plan``, ``CheckReport``, and so on.
        printed: the model's printed output.
        problems: missing, unreadable or changed records and files; empty if there are none.
        files: how the published and the quarantined files were compared.
    """

    folder: Location
    records: Mapping[str, Any]
    printed: str
    problems: tuple[Problem, ...]
    files: FileCheck

    @property
    def whole(self) -> bool:
        """Whether no record or file is missing, unreadable or changed."""
        return not self.problems


def show_run(
    folder: Location, records: RunRecords, open_tools: Callable[[], Toolbox], *, verify: bool = False
) -> RunView:
    """The records of a run or an attempt, with the problems of records and files.

    An unreadable record is a problem; the others are still shown.

    Args:
        folder: the run's folder.
        records: the records in it, under the empty key.
        open_tools: opens the run's deployment; called only if there are files to compare.
        verify: whether to read all files, including large ones and those in an object store. Otherwise files
            of more than 256 MiB in total are compared by size, and those in an object store are skipped.
    """
    found: dict[str, Any] = {}
    problems = list(records.verify(""))
    for kind in FILES:
        try:
            record: Any = records.find("", kind)
        except DataError:
            continue
        if record is not None:
            found[kind.__name__] = record
    problems += _missing(found, {problem.path.partition(":")[0] for problem in problems})
    files = _check_files(found, open_tools, verify=verify)
    return RunView(
        folder=folder,
        records=found,
        printed=records.find_output(""),
        problems=(*problems, *files.problems),
        files=files,
    )


def render_run(view: RunView, *, folder: str) -> str:
    """The view as lines for a terminal or a notebook; ``folder`` is how the run's folder is shown."""
    records = view.records
    lines = [*_plan_lines(records.get("Plan")), *_check_lines(records.get("CheckReport"))]
    lines += _score_lines(records.get("ScoredBatch"))
    if (drift := records.get("DriftReport")) is not None:
        named = f" in {', '.join(drift.alarms)}" if drift.alarms else ""
        lines.append(f"drift      {drift.verdict}{named}")
        lines += [f"           {told}" for told in (*map(describe, moved(drift)), *drift.notes)]
    if (refusal := records.get("Refusal")) is not None:
        lines += [f"refused    {refusal.gate}", *(f"           {problem}" for problem in refusal.problems)]
    if view.printed:
        lines.append(f"output     {len(view.printed):,} characters that the model printed: {OUTPUT}")
    manifest = records.get("Manifest")
    lines.append(f"published  {manifest.published_at[:19]} UTC" if manifest else "published  no")
    lines += [*_whole_lines(view), f"folder     {folder}"]
    return "\n".join(lines)


def _missing(found: Mapping[str, Any], named: set[str]) -> list[Problem]:
    """The records that every published run has, but that this one lacks."""
    if "Manifest" not in found:
        return []
    kinds = (CheckReport, ScoredBatch, DriftReport)
    missing = (FILES[kind] for kind in kinds if kind.__name__ not in found)
    return [Problem(name, "is not there") for name in missing if name not in named]


def _check_files(found: Mapping[str, Any], open_tools: Callable[[], Toolbox], *, verify: bool) -> FileCheck:
    plan: Plan | None = found.get("Plan")
    manifest: Manifest | None = found.get("Manifest")
    if manifest is None:
        return FileCheck(compared="nothing", reason="none was published")
    if plan is None:
        return FileCheck(compared="nothing", reason="plan.json says where they are, and cannot be read")
    output = plan.deployment.output.path
    if "://" in output and not verify:
        return FileCheck(compared="nothing", reason=f"they are in {output}; --verify reads them")
    files = (*manifest.files, *manifest.quarantine)
    content = verify or sum(file.size for file in files) <= MOST_READ
    try:
        tools = open_tools()
        published = tools.publishing.table.file_problems(
            plan.folder, plan.run_id, manifest.files, content=content
        )
        key = quarantine_key(plan.folder, plan.run_id)
        quarantined = tools.records.file_problems(key, manifest.quarantine, content=content)
    except (BatchdeployError, OSError) as error:
        return FileCheck(compared="nothing", reason=f"they could not be looked at: {error}")
    if published is None:
        reason = "they are not kept any more: neither visible nor an earlier generation"
        return FileCheck(compared="nothing", problems=quarantined, reason=reason)
    compared: Compared = "content" if content else "size"
    return FileCheck(compared=compared, files=len(files), problems=(*published, *quarantined))


def _plan_lines(plan: Plan | None) -> list[str]:
    if plan is None:
        return []
    return [
        f"{plan.deployment.name} {plan.folder} run {plan.run_id}, planned {plan.planned_at[:19]} UTC",
        f"model      {plan.model.name} version {plan.model.version}, sha256 {plan.model.digest[:16]}…",
        f"data       {plan.data.path}, {len(plan.data.files)} files, md5 {plan.data.digest}",
    ]


def _check_lines(check: CheckReport | None) -> list[str]:
    if check is None:
        return []
    lines = [f"checks     {len(check.results) - len(check.failed)} of {len(check.results)} hold"]
    for result in check.failed:
        seen = f", such as {', '.join(result.examples[:3])}" if result.examples else ""
        what = f"{result.column or 'table'} {result.expectation}({result.arguments}){seen}"
        lines.append(f"           {result.level}: {what}")
    return lines


def _score_lines(scored: ScoredBatch | None) -> list[str]:
    if scored is None:
        return []
    lines = [f"scores     {scored.rows_scored:,} of {scored.rows_in:,} rows, keys {scored.keys_out}"]
    for part in scored.quarantined:
        lines.append(f"           quarantined: {part.rows:,} rows, {part.stage}: {part.reason}")
    for finding in scored.findings:
        what = f"{finding.column}: {finding.rule} in {finding.rows:,} rows, {finding.action}"
        lines.append(f"           policy: {what}")
    return lines + [f"           cast: {count}" for count in scored.casts]


def _whole_lines(view: RunView) -> list[str]:
    """Lines that say whether records and files are complete and unchanged, and name those that are not."""
    files = view.files
    how = {"content": "compared by SHA-256", "size": "compared by size; --verify reads them"}
    told = f"{files.files} files {how[files.compared]}" if not files.reason else f"files: {files.reason}"
    told = f"{len(view.records)} records; {told}"
    if view.whole:
        return [f"whole      yes: {told}"]
    return [f"whole      no: {told}", *(f"           {problem}" for problem in view.problems)]
