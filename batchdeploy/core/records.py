"""The records of a run, in order of creation: Plan > CheckReport > ScoredBatch > DriftReport > Manifest.

They are frozen and hold plain values only, so that they print, pickle and serialise to JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from batchdeploy.core import FORBID_UNKNOWN
from batchdeploy.core.casts import CastCount
from batchdeploy.core.deployment import Deployment
from batchdeploy.core.pins import Column, DataPin, FilePin, ModelPin, TensorInput, TextPin
from batchdeploy.core.policy import PolicyViolation
from batchdeploy.core.profiles import ColumnProfile, Role
from batchdeploy.core.secrets import without_secrets

__all__ = [
    "CheckReport",
    "Column",
    "DataPin",
    "DriftReport",
    "DriftStatistic",
    "ExpectationResult",
    "FilePin",
    "InputSchema",
    "Manifest",
    "ModelPin",
    "OutputFile",
    "Plan",
    "QuarantinedRows",
    "ScoredBatch",
    "State",
    "TensorInput",
    "TextPin",
    "Verdict",
]

State = Literal["new", "changed", "identical"]
# "quiet", "drift" and "unmeasured" are in earlier records only.
Verdict = Literal["ok", "watch", "warning", "critical", "not measured", "quiet", "drift", "unmeasured"]
StatisticName = Literal[
    "null_share", "outside_share", "unseen_share", "location", "scale", "skewness", "tails", "top_share",
    "shape", "psi",
]  # fmt: skip
Returns = Literal["frame", "array", "struct", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSchema:
    """Columns (Arrow types) and rows of each file of a partition, from the Parquet footers."""

    __pydantic_config__ = FORBID_UNKNOWN
    columns: tuple[Column, ...]
    file_rows: tuple[int, ...]

    @property
    def rows(self) -> int:
        return sum(self.file_rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A deployment and a partition with every ref resolved to a pin.

    Attributes:
        run_id: 16 hex digits of the SHA-256 over the pins. No secret is in them, nor in ``deployment``.
        base_run: the published run at planning time; publishing refuses if another run is published by then.
        changes: reasons why this plan differs from the published run, one phrase each.
        attempt: the attempt that this plan was written for; empty if none has begun.
        evolve: whether the plan may change the table's model or columns.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    run_id: str
    deployment: Deployment
    partition: str
    model: ModelPin
    data: DataPin
    schema: InputSchema
    suite: TextPin | None
    reference: TextPin | None
    base_run: str | None
    changes: tuple[str, ...]
    planned_at: str
    evolve: bool = False
    attempt: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "deployment", without_secrets(self.deployment))

    @property
    def state(self) -> State:
        if self.base_run is None:
            return "new"
        return "identical" if self.base_run == self.run_id else "changed"

    @property
    def folder(self) -> str:
        """The partition's folder name, ``date=2013-02-01``."""
        return self.deployment.data.partition.folder(self.partition)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectationResult:
    """One expectation's outcome. ``unexpected`` counts rows; ``examples`` holds a few bad values."""

    __pydantic_config__ = FORBID_UNKNOWN
    expectation: str
    column: str | None
    arguments: str
    level: Literal["block", "warn"]
    success: bool
    evaluated: int | None = None
    unexpected: int | None = None
    observed: str | None = None
    examples: tuple[str, ...] = ()
    exception: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """The results of validation. ``started_at`` is also the start of the plan's execution."""

    __pydantic_config__ = FORBID_UNKNOWN
    run_id: str
    started_at: str
    rows: int
    results: tuple[ExpectationResult, ...]

    @property
    def failed(self) -> tuple[ExpectationResult, ...]:
        return tuple(result for result in self.results if not result.success)

    @property
    def blocking(self) -> tuple[ExpectationResult, ...]:
        return tuple(result for result in self.failed if result.level == "block")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """One Parquet file that a run wrote; ``path`` is relative to the partition's folder."""

    __pydantic_config__ = FORBID_UNKNOWN
    path: str
    rows: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedRows:
    """How many rows were quarantined for one reason, and at which stage of the kernel."""

    __pydantic_config__ = FORBID_UNKNOWN
    stage: Literal["input", "predict", "output"]
    reason: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredBatch:
    """Scores in staging, not visible yet.

    Attributes:
        attempt: the name of the attempt and of its private staging folder.
        keys_in, keys_out: order-independent checksums of the keys read and of the keys in the written files
            (published and quarantined together), as 16 hex digits.
        rows_in: rows matching ``data.where``; ``rows_left_out`` counts the rows excluded by it.
        workers: host and process id of each worker.
        model_loads: how often a worker loaded the model.
        runtime: the runtime that was used; ``native`` after a fallback.
        findings: policy violations, including those with the action ``pass``.
        casts: what ``data.casts`` did to the values of rows matching ``data.where``.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    run_id: str
    attempt: str
    files: tuple[OutputFile, ...]
    quarantine: tuple[OutputFile, ...]
    rows_in: int
    rows_scored: int
    rows_quarantined: int
    keys_in: str
    keys_out: str
    quarantined: tuple[QuarantinedRows, ...]
    profile: tuple[ColumnProfile, ...]
    model_loads: int
    findings: tuple[PolicyViolation, ...] = ()
    casts: tuple[CastCount, ...] = ()
    rows_left_out: int = 0
    workers: tuple[str, ...] = ()
    runtime: str = "native"


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftStatistic:
    """One column, one statistic: a row of the drift table.

    Attributes:
        statistic: see `batchdeploy.core.drift_statistics`; ``psi`` is shown but not tested.
        value: of this partition: a share of rows, or in the column's units (``location``, the mean;
            ``scale``, the standard deviation).
        reference: its mean over the reference's partitions; ``low`` and ``high``, the least and most of them.
        p_value: the probability of so large a difference without drift.
        q_value: adjusted for all questions of the partition by Benjamini and Hochberg; 1 where the
            difference is too small to matter.
        rows: the rows it was taken from.
        detail: the category, or the range of values, that moved most.
        limit: of reports of the earlier format only: the PSI at which the column would have alarmed.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    column: str
    role: Role
    statistic: StatisticName
    value: float
    rows: int
    reference: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    q_value: float | None = None
    alarm: bool = False
    detail: str = ""
    limit: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport:
    """The drift statistics of all columns, and the verdict.

    Attributes:
        verdict: ``watch``: something is unusual, but no alarm; ``warning``: an alarm; ``critical``: an alarm
            of an output, or one that concerns half of a column's rows; ``not measured``.
        notes: what is watched, or why nothing was measured, one sentence each.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    run_id: str
    verdict: Verdict
    statistics: tuple[DriftStatistic, ...]
    profile: tuple[ColumnProfile, ...]
    notes: tuple[str, ...] = ()

    @property
    def alarms(self) -> tuple[str, ...]:
        """The columns with an alarm, most surprising first, each once."""
        rows = sorted((row for row in self.statistics if row.alarm), key=lambda row: row.q_value or 0.0)
        return tuple(dict.fromkeys(row.column for row in rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a gate refused; ``gate`` is the class name of its error. Written only on a refusal."""

    __pydantic_config__ = FORBID_UNKNOWN
    gate: str
    where: str
    problems: tuple[str, ...]
    hint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a published run did: pins, counts, files, versions. Written last, after the publish."""

    __pydantic_config__ = FORBID_UNKNOWN
    run_id: str
    attempt: str
    deployment: str
    partition: str
    model: str
    model_version: int
    model_digest: str
    data_digest: str
    plan_sha256: str
    rows_in: int
    rows_scored: int
    rows_quarantined: int
    keys: str
    files: tuple[OutputFile, ...]
    quarantine: tuple[OutputFile, ...]
    warnings: tuple[str, ...]
    drift: Verdict
    drift_alarms: tuple[str, ...]
    replaced: str | None
    started_at: str
    published_at: str
    seconds: float
    versions: dict[str, str]
    rows_left_out: int = 0
