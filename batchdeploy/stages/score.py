"""Scores a partition into staging, and reconciles the keys read with the keys written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from math import ceil
from operator import attrgetter
from pathlib import Path

from batchdeploy.core.casts import add_counts
from batchdeploy.core.pins import input_changed
from batchdeploy.core.policy import PolicyViolation
from batchdeploy.core.profiles import ColumnProfile
from batchdeploy.core.records import Plan, QuarantinedRows, ScoredBatch
from batchdeploy.core.scoring_spec import ScoringSpec, batch_rows
from batchdeploy.core.work import AttemptFolders, ScoreJob, Split, SplitResult
from batchdeploy.errors import (
    EngineError,
    Problem,
    ScoringRefused,
)
from batchdeploy.kernel.profiling import empty, merge
from batchdeploy.ports import (
    Engine,
    Evidence,
    ModelFetcher,
    PartitionReader,
    PartitionScorer,
    ReferenceSource,
    Scorer,
    Source,
    Staging,
    Workers,
)
from batchdeploy.redaction import logger
from batchdeploy.stages.check_workers import check_workers

LOG = logger("batchdeploy")
LEAST_FAILURES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorePorts:
    """The ports that `score` uses.

    Attributes:
        partition_scorer: None where workers read their splits themselves.
        models: the folder that models are fetched to.
        versions: the versions of Python and of the libraries that scores depend on, on this machine.
    """

    fetcher: ModelFetcher
    source: Source
    references: ReferenceSource
    reader: PartitionReader
    engine: Engine
    workers: Workers
    scorer: Scorer
    partition_scorer: PartitionScorer | None
    staging: Staging
    evidence: Evidence
    models: Path
    versions: Mapping[str, str]


def score(plan: Plan, ports: ScorePorts, *, now: datetime, done: Callable[[int], None]) -> ScoredBatch:
    """Scores every row of the partition into staging.

    Args:
        plan: the run's plan.
        ports: the registry, reader, engine and others to use.
        now: the value of ``_scored_at`` in every row.
        done: called with the number of rows of each finished split.

    Raises:
        RequestError: workers lack packages, or folders that they must share.
        ScoringRefused: the predictions have the wrong shape, or the model fails on too many rows.
        EngineError: the engine failed, or rows were lost.
    """
    model_folder = ports.fetcher.fetch(plan.model, ports.models)
    LOG.info("scoring with %s", ", ".join(" ".join(pair) for pair in ports.versions.items()))
    attempt = ports.staging.stage(plan.folder, plan.run_id)
    try:
        splits = ports.reader.make_splits(plan.data)
        check = ports.scorer.access_check(attempt, splits) if ports.workers.remote else None
        policy = plan.deployment.engine.versions
        check_workers(ports.fetcher, ports.workers, model_folder, policy=policy, check=check)
        threads = ports.engine.worker_threads(splits)
        job = _job(ports, plan, (ports.workers.distribute(model_folder), attempt), now, threads)
        job = ports.scorer.prepare(job, model_folder, splits)
        results = _results(ports, plan, job, splits, done)
        files, quarantine = ports.staging.collect(attempt, plan.run_id, results)
        scored = ScoredBatch(
            run_id=plan.run_id,
            attempt=attempt.name,
            files=files,
            quarantine=quarantine,
            rows_in=sum(result.rows_in for result in results),
            rows_scored=sum(file.rows for file in files),
            rows_quarantined=sum(file.rows for file in quarantine),
            keys_in=_checksum(result.keys_in for result in results),
            keys_out=_checksum(result.keys_out for result in results),
            quarantined=_reasons(results),
            profile=_profile(job.spec.bins, results),
            runtime="native" if job.runtime_folder is None else plan.deployment.model.runtime,
            model_loads=sum(result.loaded for result in results),
            workers=tuple(sorted({result.worker for result in results})),
            findings=_findings(results),
            rows_left_out=sum(result.rows_left_out for result in results),
            casts=add_counts([count for result in results for count in result.casts]),
        )
        _reconcile(plan, scored)
        if changes := ports.source.changes(plan.deployment.data, plan.partition, plan.data):
            raise input_changed(plan.data, changes)
    except BaseException:
        ports.evidence.keep_output(plan, attempt.name)
        ports.staging.discard(attempt.name)
        raise
    ports.evidence.keep_output(plan, attempt.name)
    return scored


def _results(
    ports: ScorePorts, plan: Plan, job: ScoreJob, splits: Sequence[Split], done: Callable[[int], None]
) -> Sequence[SplitResult]:
    """The result of each task, in order; splits with duplicate keys are re-scored with the rows flagged."""
    if ports.partition_scorer is not None:
        results = ports.partition_scorer.score(job, plan.data, splits)
        done(sum(result.rows_in for result in results))
        return sorted(results, key=attrgetter("index"))
    worker = ports.scorer.worker(job)
    found: dict[int, SplitResult] = {}
    for result in ports.engine.map_splits(worker, splits):
        found[result.index] = result
        done(result.rows_in)
    again = ports.scorer.find_duplicates(job, splits, tuple(found.values()))
    if again:
        found |= {result.index: result for result in ports.engine.map_splits(worker, again)}
    return [found[index] for index in sorted(found)]


def gate_quarantine(plan: Plan, scored: ScoredBatch) -> None:
    """Raises if a ``fail`` rule was violated or the quarantined share exceeds ``max_share``.

    Raises:
        ScoringRefused: lists the reasons with their number of rows.
    """
    if not scored.rows_in:
        what = Problem("data.where", f"none of the {scored.rows_left_out} rows of the partition matches")
        raise ScoringRefused(f"{plan.data.path}/{plan.folder}", (what,))
    _gate_policy(plan, scored)
    allowed = plan.deployment.quarantine.max_share
    if scored.rows_quarantined > allowed * scored.rows_in:
        share = scored.rows_quarantined / scored.rows_in
        raise ScoringRefused(
            f"{plan.folder}: {scored.rows_quarantined} of {scored.rows_in} rows quarantined "
            f"({share:.1%}, allowed {allowed:.1%})",
            tuple(Problem(f"{r.stage}: {r.reason}", f"{r.rows} rows") for r in scored.quarantined),
            hint="fix the rows, or raise quarantine.max_share",
        )


def _gate_policy(plan: Plan, scored: ScoredBatch) -> None:
    broken = [
        Problem(f"{finding.column}", f"{finding.rule}: {finding.rows} of {scored.rows_in} rows")
        for finding in scored.findings
        if finding.action == "fail"
    ]
    if plan.deployment.policy.output == "fail":
        answers = [quarantined for quarantined in scored.quarantined if quarantined.stage == "output"]
        broken += [Problem("output", f"{a.reason}: {a.rows} of {scored.rows_in} rows") for a in answers]
    if broken:
        hint = f"policy says fail; the rows are in quarantine: batchdeploy show {plan.attempt or plan.run_id}"
        raise ScoringRefused(f"{plan.data.path}/{plan.folder}", tuple(broken), hint=hint)


def _job(
    ports: ScorePorts, plan: Plan, places: tuple[str, AttemptFolders], now: datetime, threads: int | None
) -> ScoreJob:
    deployment = plan.deployment
    model_folder, folders = places
    return ScoreJob(
        spec=_spec(plan, _bins(plan, ports.references), now),
        model_folder=model_folder,
        model_digest=plan.model.digest,
        folders=folders,
        durable=deployment.publish.durability == "power",
        alone=threads is not None,
        threads=threads,
    )


def _spec(plan: Plan, bins: tuple[ColumnProfile, ...], now: datetime) -> ScoringSpec:
    deployment = plan.deployment
    return ScoringSpec(
        model_version=plan.model.version,
        inputs=plan.model.inputs,
        keys=deployment.data.keys,
        keep=deployment.output.keep,
        outputs=deployment.outputs,
        run_id=plan.run_id,
        scored_at_us=int(now.timestamp() * 1_000_000),
        max_failures=max(LEAST_FAILURES, ceil(deployment.quarantine.max_share * plan.schema.rows)),
        returns=plan.model.returns,
        where=deployment.data.where,
        casts=deployment.data.casts or {},
        policy=deployment.policy,
        bins=bins,
        batch_rows=batch_rows(plan.model.inputs),
        params=plan.model.params,
        tensors=plan.model.tensors,
    )


def _bins(plan: Plan, references: ReferenceSource) -> tuple[ColumnProfile, ...]:
    if plan.reference is None:
        return ()
    return tuple(empty(profile) for profile in references.read_pinned(plan.reference).profiles)


def _checksum(sums: Iterable[int]) -> str:
    return f"{sum(sums) % 2**64:016x}"


def _reasons(results: Sequence[SplitResult]) -> tuple[QuarantinedRows, ...]:
    counts: Counter[tuple[object, str]] = Counter()
    for result in results:
        for quarantined in result.quarantined:
            counts[quarantined.stage, quarantined.reason] += quarantined.rows
    return tuple(
        QuarantinedRows(stage=stage, reason=reason, rows=rows)  # type: ignore[arg-type]
        for (stage, reason), rows in sorted(counts.items(), key=str)
    )


def _findings(results: Sequence[SplitResult]) -> tuple[PolicyViolation, ...]:
    counts: dict[tuple[str, str], PolicyViolation] = {}
    for finding in (finding for result in results for finding in result.findings):
        before = counts.get((finding.rule, finding.column))
        rows = finding.rows + (before.rows if before else 0)
        counts[finding.rule, finding.column] = replace(finding, rows=rows)
    return tuple(counts[key] for key in sorted(counts))


def _profile(bins: Sequence[ColumnProfile], results: Sequence[SplitResult]) -> tuple[ColumnProfile, ...]:
    counted = [{(p.role, p.name): p for p in result.profile} for result in results]
    return tuple(reduce(merge, [one[bin_.role, bin_.name] for one in counted], bin_) for bin_ in bins)


def _reconcile(plan: Plan, scored: ScoredBatch) -> None:
    """Raises EngineError unless the rows in the footers, the rows read and the rows written agree."""
    problems = []
    out = scored.rows_scored + scored.rows_quarantined
    read = scored.rows_in + scored.rows_left_out
    if read != plan.schema.rows:
        problems.append(Problem("rows read", f"the footers have {plan.schema.rows}", str(read)))
    if out != scored.rows_in:
        problems.append(Problem("rows written", f"{scored.rows_in} were read", str(out)))
    if scored.keys_in != scored.keys_out:
        problems.append(Problem("keys written", f"checksum of those read {scored.keys_in}", scored.keys_out))
    if problems:
        raise EngineError(f"the scores of {plan.folder}", tuple(problems), hint="nothing was published")
