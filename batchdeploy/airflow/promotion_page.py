"""Renders the Report tab of a promotion run: comparison, decision and outcome."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from batchdeploy.airflow.report_access import ControlFolder, find_key, open_folder
from batchdeploy.core.comparison import Comparison
from batchdeploy.core.layout import is_comparison_key
from batchdeploy.errors import BatchdeployError
from batchdeploy.storage.comparison_records import ComparisonRecords

APPROVAL_OPERATOR, PROMOTION_OPERATOR = "DecisionOperator", "PromoteOperator"
APPROVED = ["Approve"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionOutcome:
    """The progress of a promotion run.

    Attributes:
        requested: whether approval was requested.
        approved: the answer; None if there is none yet.
        by, at: who answered, and when.
        states: the states of the tasks that ask and that move the alias.
    """

    requested: bool
    approved: bool | None
    by: str
    at: str
    states: tuple[str | None, str | None]


def read_comparison(path: str, controls: frozenset[ControlFolder]) -> Comparison | None:
    """The comparison in a file; None if it is outside these control folders or invalid."""
    for control in controls:
        key = find_key(control, path, is_comparison_key)
        with suppress(BatchdeployError, OSError):
            found = None if key is None else ComparisonRecords(open_folder(control)).find(key)
            if found is not None:
                return found
    return None


def find_outcome(session: Any, dag_id: str, run_id: str) -> PromotionOutcome:
    """The run's progress from Airflow's own tables, in which users cannot forge an approval."""
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    tasks = session.scalars(
        select(TaskInstance).where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
    ).all()
    states = {task.operator: task.state for task in tasks}
    asking = [task.id for task in tasks if task.operator == APPROVAL_OPERATOR]
    detail = session.scalars(select(HITLDetail).where(HITLDetail.ti_id.in_(asking))).first()
    answered = detail is not None and detail.responded_at is not None
    who = (detail.responded_by or {}) if answered else {}
    return PromotionOutcome(
        requested=detail is not None,
        approved=list(detail.chosen_options or ()) == APPROVED if answered else None,
        by=str(who.get("name") or who.get("id") or "somebody unknown"),
        at=detail.responded_at.isoformat()[:19].replace("T", " ") if answered else "",
        states=(states.get(APPROVAL_OPERATOR), states.get(PROMOTION_OPERATOR)),
    )


def render_promotion(compared: Comparison, outcome: PromotionOutcome, problems: tuple[str, ...]) -> str:
    """The page as HTML, with the tasks' failures unless the run was rejected."""
    shown = () if outcome.approved is False else problems
    names = {"compared": compared, "verdict": verdict(compared, outcome), "problems": shown}
    return str(_template().render(names))


def verdict(compared: Comparison, outcome: PromotionOutcome) -> tuple[str, str]:
    """(colour class, sentence) for the top of the page."""
    stays = f"{compared.alias} stays at version {compared.champion}"
    moved = f"{compared.alias} moved from version {compared.champion} to {compared.challenger}"
    asking, moving = outcome.states
    if outcome.approved is False:
        return "bad", f"Rejected by {outcome.by} at {outcome.at} UTC: {stays}."
    if outcome.approved is None and outcome.requested:
        return "warn", "Waiting for approval or rejection."
    if outcome.approved is None and asking != "success":
        return "warn", "Compared; no decision was requested yet."
    how = "No decision was requested, because the approval was marked as success"
    if outcome.approved:
        how = f"Approved by {outcome.by} at {outcome.at} UTC"
    if moving == "success":
        return ("good" if outcome.approved else "warn"), f"{how}: {moved}."
    if moving in ("failed", "upstream_failed", "skipped", "removed"):
        return "bad", f"{how}, but {compared.alias} was not moved."
    return "warn", f"{how}; {compared.alias} is about to be moved."


@cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("batchdeploy.airflow", "pages")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(
        "promotion.html.j2"
    )
