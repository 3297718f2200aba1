"""Publishes a run: the manifest and the scores become visible in one atomic step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime

from batchdeploy.core.records import CheckReport, DriftReport, Manifest, Plan, ScoredBatch
from batchdeploy.documents import from_json, to_json
from batchdeploy.ports import Publisher


def publish(
    publisher: Publisher,
    plan: Plan,
    *,
    records: tuple[CheckReport, ScoredBatch, DriftReport],
    versions: Mapping[str, str],
    clock: Callable[[], datetime],
) -> Manifest:
    """Publishes the staged scores of a partition.

    Args:
        publisher: publishes the files.
        plan: the run's plan.
        records: the records of the earlier stages.
        versions: the versions of Python and of the libraries that the scores depend on.
        clock: returns the time of publishing; called under the table's lock.

    Returns:
        This run's manifest, or that of an earlier run with the same pins.

    Raises:
        StaleRunError: a run with other pins has published the partition since it was planned.
        PublishError: the table could not be locked or swapped.
    """
    sealed: dict[str, Manifest] = {}

    def seal() -> tuple[str, str]:
        at = clock()
        manifest = _manifest(plan, records, dict(versions), at)
        text = to_json(manifest)
        sealed[text] = manifest
        return text, at.isoformat()

    text = publisher.publish(plan, records[1], seal)
    return sealed.get(text) or from_json(Manifest, text, where=f"manifest of {plan.run_id}")


def _manifest(
    plan: Plan,
    records: tuple[CheckReport, ScoredBatch, DriftReport],
    versions: dict[str, str],
    at: datetime,
) -> Manifest:
    check, scored, drift = records
    started = datetime.fromisoformat(check.started_at)
    return Manifest(
        run_id=plan.run_id,
        attempt=scored.attempt,
        deployment=plan.deployment.name,
        partition=plan.partition,
        model=plan.model.name,
        model_version=plan.model.version,
        model_digest=plan.model.digest,
        data_digest=plan.data.digest,
        plan_sha256=hashlib.sha256(to_json(plan).encode()).hexdigest(),
        rows_in=scored.rows_in,
        rows_scored=scored.rows_scored,
        rows_quarantined=scored.rows_quarantined,
        rows_left_out=scored.rows_left_out,
        keys=scored.keys_out,
        files=scored.files,
        quarantine=scored.quarantine,
        warnings=tuple(f"{r.column or 'table'}: {r.expectation}" for r in check.failed),
        drift=drift.verdict,
        drift_alarms=drift.alarms,
        replaced=plan.base_run,
        started_at=check.started_at,
        published_at=at.isoformat(),
        seconds=round((at - started).total_seconds(), 3),
        versions=versions,
    )
