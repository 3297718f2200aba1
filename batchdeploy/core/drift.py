"""Drift: how far a partition lies from the reference, and whether a quiet day would lie that far.

The statistic is the population stability index with half a count added to each bin,

    PSI = sum((p - q) * ln(p / q)),   T = PSI / (1/n + 1/m),

where a bin's half count is taken in proportion to its share of both sides together, for a partition of n
rows and a reference of m. If rows were independent, T would follow chi-squared with (bins - 1) degrees of
freedom on a quiet day (PSI is the symmetric Kullback-Leibler divergence, to second order the chi-squared
statistic). They are not: all flights of a day share its weather. As in survey sampling with clusters (Rao
and Scott, "On chi-squared tests for multiway contingency tables with cell proportions estimated from
survey data", Annals of Statistics 12, 1984), T is compared with its own distribution over whole partitions
of the reference period: its mean there, and the degrees of freedom of the scaled chi-squared that matches
its variance (Satterthwaite), referred to F because both are estimated from a finite number of partitions.
One threshold for all columns follows from Benjamini and Hochberg
(JRSS B 57, 1995) at the deployment's false alarm rate, with an effect floor: certainty is not importance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from batchdeploy.core.deployment import DriftSpec
from batchdeploy.core.profiles import ColumnProfile, Reference, ReferenceColumn
from batchdeploy.core.records import DriftReport, DriftStatistic, Verdict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

FEW_PARTITIONS = 8


def psi(reference: ArrayLike, current: ArrayLike) -> tuple[float, int]:
    """The population stability index of two count vectors, and the number of bins it rests on.

    Half a count a bin is added, spread as the bins' shares of both together are; bins that are empty in
    both are left out. Zero for equal shares.
    """
    import numpy as np

    q, p = np.asarray(reference, dtype=float), np.asarray(current, dtype=float)
    used = (q + p) > 0
    # NOTE: the half count goes in proportion to each side's own total, so that equal shares give zero.
    n, m, bins = p.sum(), q.sum(), int(used.sum())
    if not n or not m or bins < 2:
        return 0.0, bins
    share = (q[used] + p[used]) / (n + m)
    p_smooth = (p[used] + 0.5 * bins * share) / (n + 0.5 * bins)
    q_smooth = (q[used] + 0.5 * bins * share) / (m + 0.5 * bins)
    return float(((p_smooth - q_smooth) * np.log(p_smooth / q_smooth)).sum()), bins


def measure(reference: ReferenceColumn, current: ColumnProfile) -> tuple[float, float]:
    """The column's PSI, and the probability of one as large on a quiet partition of this size."""
    from scipy.stats import chi2, f

    value, _ = psi(_vector(reference.profile), _vector(current))
    if not current.rows:
        return 0.0, 1.0
    ratio = value / _scale(reference.profile.rows, current.rows) / reference.mean
    if reference.partitions < 2:
        return value, float(chi2.sf(ratio * reference.df, reference.df))
    return value, float(f.sf(ratio, reference.df, reference.df * (reference.partitions - 1)))


def judge(
    reference: Reference, current: Sequence[ColumnProfile], spec: DriftSpec, *, run_id: str
) -> DriftReport:
    """Every column's statistics and the verdict on all of them together."""
    by_name = {(profile.role, profile.name): profile for profile in current}
    pairs = [
        (column, by_name[column.profile.role, column.profile.name])
        for column in reference.columns
        if (column.profile.role, column.profile.name) in by_name
    ]
    measured = [measure(column, profile) for column, profile in pairs]
    q_values = adjust([p for _, p in measured])
    cut = _cut([p for _, p in measured], spec.false_alarm_rate)
    rows: list[DriftStatistic] = []
    for (column, profile), (value, p), q in zip(pairs, measured, q_values, strict=True):
        limit = max(_limit(column, profile.rows, cut), spec.min_psi)
        alarm = q <= spec.false_alarm_rate and value >= spec.min_psi
        rows.append(_row(profile, "psi", value, limit=limit, p=p, q=q, alarm=alarm))
        rows.extend(_shares(column, profile))
    verdict: Verdict = "drift" if any(row.alarm for row in rows) else "quiet"
    return DriftReport(run_id=run_id, verdict=verdict, statistics=tuple(rows), profile=tuple(current))


def calibrate(profile: ColumnProfile, partitions: Sequence[ColumnProfile]) -> ReferenceColumn:
    """A reference column that knows how far the reference's own partitions lie from it.

    Args:
        profile: all rows of the reference period.
        partitions: the same bins for each of its partitions; fewer than two take rows as independent,
            fewer than eight estimate the mean only.
    """
    import numpy as np

    bins = sum(1 for n in _vector(profile) if n)
    independent = float(max(bins - 1, 1))
    statistics = np.array([_against_rest(profile, part) for part in partitions if part.rows])
    if len(statistics) < 2:
        return ReferenceColumn(profile=profile, mean=independent, df=independent, partitions=0)
    mean, variance = float(statistics.mean()), float(statistics.var(ddof=1))
    if mean <= independent:
        mean, df = independent, independent
    elif len(statistics) < FEW_PARTITIONS or variance <= 0:
        df = independent
    else:
        df = min(max(2 * mean**2 / variance, 1.0), independent)
    return ReferenceColumn(profile=profile, mean=mean, df=df, partitions=len(statistics))


def adjust(p_values: Sequence[float]) -> list[float]:
    """Benjamini-Hochberg adjusted p-values, in the order given."""
    from scipy.stats import false_discovery_control

    return [float(q) for q in false_discovery_control(list(p_values))] if p_values else []


def _vector(profile: ColumnProfile) -> np.ndarray[Any, Any]:
    import numpy as np

    return np.array([*profile.counts, profile.nulls, profile.unseen], dtype=float)


def _scale(reference_rows: int, rows: int) -> float:
    return 1 / rows + 1 / max(reference_rows, 1)


def _against_rest(profile: ColumnProfile, part: ColumnProfile) -> float:
    """T of one partition against all the others: against the whole it would meet itself."""
    rest = _vector(profile) - _vector(part)
    if not rest.sum():
        return 0.0
    value, _ = psi(rest, _vector(part))
    return value / _scale(int(rest.sum()), part.rows)


def _cut(p_values: Sequence[float], rate: float) -> float:
    """The p-value at which a column alarms in this partition: Benjamini-Hochberg's step, or its first."""
    ordered, count = sorted(p_values), max(len(p_values), 1)
    steps = [rate * rank / count for rank in range(1, count + 1)]
    passed = [step for p, step in zip(ordered, steps, strict=False) if p <= step]
    return max(passed, default=rate / count)


def _limit(column: ReferenceColumn, rows: int, cut: float) -> float:
    from scipy.stats import chi2, f

    if not rows:
        return 0.0
    if column.partitions < 2:
        ratio = chi2.isf(cut, column.df) / column.df
    else:
        ratio = f.isf(cut, column.df, column.df * (column.partitions - 1))
    return float(ratio * column.mean * _scale(column.profile.rows, rows))


def _shares(column: ReferenceColumn, profile: ColumnProfile) -> list[DriftStatistic]:
    rows, whole = max(profile.rows, 1), max(column.profile.rows, 1)
    found = [_row(profile, "null_share", profile.nulls / rows, reference=column.profile.nulls / whole)]
    if profile.kind == "categorical":
        unseen = column.profile.unseen / whole
        found.append(_row(profile, "unseen_share", profile.unseen / rows, reference=unseen))
    return found


def _row(
    profile: ColumnProfile,
    statistic: Any,
    value: float,
    *,
    reference: float | None = None,
    limit: float | None = None,
    p: float | None = None,
    q: float | None = None,
    alarm: bool = False,
) -> DriftStatistic:
    return DriftStatistic(
        column=profile.name,
        role=profile.role,
        statistic=statistic,
        value=value,
        reference=reference,
        limit=limit,
        p_value=p,
        q_value=q,
        alarm=alarm,
        rows=profile.rows,
    )
