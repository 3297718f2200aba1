"""Renders a run's records as one self-contained HTML page, and as lines for a terminal or a log."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from batchdeploy.core.drift_sentences import describe, headline, moved
from batchdeploy.core.profiles import Reference
from batchdeploy.core.records import (
    CheckReport,
    DriftReport,
    DriftStatistic,
    ExpectationResult,
    Manifest,
    Plan,
    Refusal,
    ScoredBatch,
)
from batchdeploy.errors import SHOWN_TEXT, DataError, shorten
from batchdeploy.ports import Painter, ReferenceSource

DRAWN = 6
SHOWN_OUTPUT = 4000
SHOWN_REASONS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecords:
    """The records that an attempt has so far.

    Attributes:
        published: the manifest of the attempt that published these pins, this one or another.
        printed: output of the model and its libraries.
    """

    check: CheckReport | None
    scored: ScoredBatch | None
    drift: DriftReport | None
    refusal: Refusal | None
    published: Manifest | None
    printed: str = ""

    @property
    def manifest(self) -> Manifest | None:
        """The manifest if this attempt was published."""
        if self.scored is None or self.published is None:
            return None
        return self.published if self.scored.attempt == self.published.attempt else None

    @property
    def published_by(self) -> str | None:
        """The attempt that published these pins, if it was another one."""
        if self.published is None or self.manifest is not None:
            return None
        return self.published.attempt


def render_html(plan: Plan, records: AttemptRecords, *, reference: Reference | None, painter: Painter) -> str:
    """The run's HTML page with inline charts, without scripts or network; missing records are left out."""
    drift = records.drift
    pictures = _pictures(drift, reference, painter) if drift and reference else []
    overview = Markup(painter.overview(drift)) if drift and drift.statistics else None  # noqa: S704
    refused = records.refusal if records.manifest is None else None
    page: str = (
        _templates()
        .get_template("report.html.j2")
        .render(
            plan=plan,
            check=records.check,
            scored=records.scored,
            drift=drift,
            manifest=records.manifest,
            overview=overview,
            printed=records.printed[:SHOWN_OUTPUT] + ("…" if len(records.printed) > SHOWN_OUTPUT else ""),
            pictures=[(row, describe(row), svg) for row, svg in pictures],
            tested=_tested(drift) if drift else [],
            moved=[describe(row) for row in moved(drift)] if drift else [],
            verdict=_unpublished(plan, records) if records.manifest is None else _published(records),
            refused=refused.problems if refused is not None else (),
        )
    )
    return page


def find_reference(plan: Plan, references: ReferenceSource) -> Reference | None:
    """The reference of a plan for its page; None if it is missing or has changed."""
    if plan.reference is None:
        return None
    try:
        return references.read_pinned(plan.reference)
    except (OSError, DataError):
        return None


def render_text(manifest: Manifest) -> str:
    """A summary of a published run in a few lines."""
    quarantined = f", {manifest.rows_quarantined:,} quarantined" if manifest.rows_quarantined else ""
    quarantined += f", {manifest.rows_left_out:,} left out by data.where" if manifest.rows_left_out else ""
    lines = [
        f"{manifest.deployment} {manifest.partition}: {manifest.rows_scored:,} rows scored{quarantined} by "
        f"{manifest.model} version {manifest.model_version} (run {manifest.run_id})",
        f"drift: {manifest.drift}" + _in_columns(manifest.drift_alarms),
    ]
    lines += [f"warning: {warning}" for warning in manifest.warnings]
    return "\n".join(lines)


def render_line(record: CheckReport | ScoredBatch | DriftReport | Manifest) -> str:
    """A step's record as one log line."""
    match record:
        case CheckReport():
            what = (
                f"validated {record.rows:,} rows: {len(record.failed)} of {len(record.results)} expectations"
            )
            what += " fail"
            more = [f"{r.level}: {r.column or 'table'} {r.expectation}{_of_rows(r)}" for r in record.failed]
        case ScoredBatch():
            what = f"scored {record.rows_scored:,} of {record.rows_in:,} rows ({record.runtime})"
            what += f", {record.rows_left_out:,} left out by data.where" if record.rows_left_out else ""
            more = [f"{r.rows:,} quarantined, {r.stage}: {r.reason}" for r in record.quarantined]
            more += [f"cast {count}" for count in record.casts]
        case DriftReport():
            columns = {(row.role, row.column) for row in record.statistics}
            what = f"drift: {record.verdict}{_in_columns(record.alarms)}, {len(columns)} columns measured"
            more = [*map(describe, moved(record)), *record.notes]
        case Manifest():
            what = f"published {record.rows_scored:,} rows of {record.partition} as run {record.run_id}"
            what += f" in place of run {record.replaced}" if record.replaced else ""
            more = [f"warning: {warning}" for warning in record.warnings]
    hidden = [f"and {len(more) - SHOWN_REASONS} more"] if len(more) > SHOWN_REASONS else []
    return "; ".join([what, *(shorten(text, SHOWN_TEXT) for text in more[:SHOWN_REASONS]), *hidden])


def _of_rows(result: ExpectationResult) -> str:
    return "" if result.unexpected is None else f" in {result.unexpected} of {result.evaluated} rows"


def _in_columns(names: tuple[str, ...]) -> str:
    return f" in {', '.join(names)}" if names else ""


def _published(records: AttemptRecords) -> tuple[str, str]:
    """(colour class, sentence) for the top of the page of a run that was published."""
    drift, check = records.drift, records.check
    if drift is not None and drift.alarms:
        critical = drift.verdict == "critical"
        what = "critical drift" if critical else "drift"
        return "bad" if critical else "warn", f"Published, with {what}: {headline(drift)}."
    if check is not None and check.failed:
        return "warn", f"Published, with {len(check.failed)} failed expectations of level warn."
    quarantined = records.scored is not None and records.scored.rows_quarantined
    return "good", f"Published{f', {quarantined} rows quarantined' if quarantined else ''}."


def _unpublished(plan: Plan, records: AttemptRecords) -> tuple[str, str]:
    """(colour class, sentence) for a run that was not published: the refusing gate, or its progress."""
    check = records.check
    if check is not None and check.blocking:
        return "bad", f"Refused: {len(check.blocking)} blocking expectations failed. Nothing was published."
    others = f"what is visible of this run is from another attempt, {records.published_by}"
    if records.refusal is not None:
        also = f" ({others})" if records.published_by is not None else ""
        return "bad", f"Not published: {_why(plan, records)}{also}."
    if records.published_by is not None:
        return "bad", f"Not published: {others}."
    far = sum(record is not None for record in (check, records.scored, records.drift))
    return (
        "bad",
        f"Not published: the run was {('planned', 'validated', 'scored', 'compared')[far]}, no more.",
    )


def _why(plan: Plan, records: AttemptRecords) -> str:
    """The gate's reason in a few words; details follow on the page."""
    scored, drift = records.scored, records.drift
    if drift is not None:
        return f"drift, and drift.on_alarm is block: {headline(drift)}"
    if scored is None:
        return "the scores were refused"
    if not scored.rows_in:
        return f"none of the {scored.rows_left_out:,} rows matches data.where"
    rows, allowed = scored.rows_quarantined, plan.deployment.quarantine.max_share
    if rows > allowed * scored.rows_in:
        share = f"{rows / scored.rows_in:.1%}, allowed {allowed:.1%}"
        return f"{rows:,} of {scored.rows_in:,} rows were quarantined ({share})"
    return "rows break a rule of the policy that says fail"


def _pictures(drift: DriftReport, reference: Reference, painter: Painter) -> list[tuple[Any, Markup]]:
    """Charts of the columns that moved, most surprising first, then of the others, outputs first."""
    current = {(profile.role, profile.name): profile for profile in drift.profile}
    before = {(profile.role, profile.name): profile for profile in reference.profiles}
    rows = sorted(
        (row for row in _tested(drift) if (row.role, row.column) in before),
        key=lambda row: (not row.alarm, row.q_value if row.alarm else row.role != "output", row.p_value),
    )
    told = {(row.role, row.column): row for row in moved(drift)}
    first = {(row.role, row.column): row for row in reversed(rows)}
    places = list(dict.fromkeys((row.role, row.column) for row in rows))[:DRAWN]
    return [
        (told.get(place, first[place]), Markup(painter.distribution(before[place], current[place])))  # noqa: S704
        for place in places
    ]


def _tested(drift: DriftReport) -> list[DriftStatistic]:
    """The questions of a report; one of the earlier format has none."""
    return [row for row in drift.statistics if row.p_value is not None and row.low is not None]


def _with_code(sentence: str) -> Markup:
    """A sentence as HTML, with `names` between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(sentence))))  # noqa: S704


@cache
def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("batchdeploy.stages", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["with_code"] = _with_code
    return found
