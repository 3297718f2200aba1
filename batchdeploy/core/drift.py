"""Drift: how far a partition deviates from the reference, and whether that is within ordinary variation.

The statistic is the population stability index with half a count added to each bin,

    PSI = sum((p - q) * ln(p / q)),   s = 1/n + 1/m,

where the half count of a bin is proportional to its share of both sides together, for a partition of n rows
and a reference of m. If rows were independent, PSI / s would follow chi-squared with d = (bins - 1)
degrees of freedom on a quiet day (PSI is the symmetric Kullback-Leibler divergence, to second order the
chi-squared statistic). They are not: all flights of a day share its weather, so a day deviates
however many flights it has. As in survey sampling with clusters (Rao and Scott, "On chi-squared tests for
multiway contingency tables with cell proportions estimated from survey data", Annals of Statistics 12,
1984), the part of PSI that comes from the partition itself is estimated from the reference's own
partitions, each compared with the others: its mean b and its variance v. Then a quiet partition of n rows has

    E[PSI] = d s + b,   Var[PSI] = 2 d s^2 + 4 b s + v

(the middle term as for a noncentral chi-squared), and PSI / E[PSI] is referred to F with
k = 2 E[PSI]^2 / Var[PSI] degrees of freedom (Satterthwaite; at least 1) over partitions - 1, because b and v
are estimates. One threshold for all columns follows from Benjamini and Hochberg (JRSS B 57, 1995) at
the deployment's false alarm rate, with an effect floor: certainty is not importance.

Null values have a bin of their own. Unseen categories count with the rare ones, because a column of many
names has new ones every day without drift; their share is reported separately.
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


def psi(reference: ArrayLike, current: ArrayLike) -> tuple[float, int]:
    """The population stability index of two count vectors, and the number of bins used.

    Half a count per bin is added, distributed like both vectors together; bins that are empty in both are
    left out. Zero for equal shares.
    """
    import numpy as np

    q, p = np.asarray(reference, dtype=float), np.asarray(current, dtype=float)
    used = (q + p) > 0
    # The half count is proportional to each side's total, so that equal shares give zero.
    n, m, bins = p.sum(), q.sum(), int(used.sum())
    if not n or not m or bins < 2:
        return 0.0, bins
    share = (q[used] + p[used]) / (n + m)
    p_smooth = (p[used] + 0.5 * bins * share) / (n + 0.5 * bins)
    q_smooth = (q[used] + 0.5 * bins * share) / (m + 0.5 * bins)
    return float(((p_smooth - q_smooth) * np.log(p_smooth / q_smooth)).sum()), bins


def measure(reference: ReferenceColumn, current: ColumnProfile) -> tuple[float, float]:
    """The column's PSI, and its p-value: the probability of one as large without drift."""
    if not current.rows:
        return 0.0, 1.0
    value, _ = psi(_count_vector(reference.profile), _count_vector(current))
    mean, quiet = _quiet_distribution(reference, current.rows)
    return value, float(quiet.sf(value / mean))


def judge(
    reference: Reference, current: Sequence[ColumnProfile], spec: DriftSpec, *, run_id: str
) -> DriftReport:
    """The drift report: statistics of every column, and the verdict on all of them."""
    by_name = {(profile.role, profile.name): profile for profile in current}
    pairs = [
        (column, by_name[column.profile.role, column.profile.name])
        for column in reference.columns
        if (column.profile.role, column.profile.name) in by_name
    ]
    measured = [measure(column, profile) for column, profile in pairs]
    q_values = adjust([p for _, p in measured])
    threshold = _p_value_threshold([p for _, p in measured], spec.false_alarm_rate)
    rows: list[DriftStatistic] = []
    for (column, profile), (value, p), q in zip(pairs, measured, q_values, strict=True):
        limit = max(_limit(column, profile.rows, threshold), spec.min_psi)
        alarm = q <= spec.false_alarm_rate and value >= spec.min_psi
        rows.append(_statistic(profile, "psi", value, limit=limit, p=p, q=q, alarm=alarm))
        rows.extend(_shares(column, profile))
    verdict: Verdict = "drift" if any(row.alarm for row in rows) else "quiet"
    return DriftReport(run_id=run_id, verdict=verdict, statistics=tuple(rows), profile=tuple(current))


def calibrate(profile: ColumnProfile, partitions: Sequence[ColumnProfile]) -> ReferenceColumn:
    """A reference column calibrated with the deviations of the reference's own partitions.

    Args:
        profile: all rows of the reference period.
        partitions: the profile of each of its partitions; with fewer than two, rows are assumed independent.
    """
    import numpy as np

    found = [_against_rest(profile, part) for part in partitions if 0 < part.rows < profile.rows]
    if len(found) < 2:
        return ReferenceColumn(profile=profile, between=0.0, between_variance=0.0, partitions=0)
    values, scales = np.array([value for value, _ in found]), np.array([scale for _, scale in found])
    d = _degrees_of_freedom(profile)
    between = max(float((values - d * scales).mean()), 0.0)
    sampling = float((2 * d * scales**2 + 4 * between * scales).mean())
    variance = max(float(values.var(ddof=1)) - sampling, 0.0)
    return ReferenceColumn(profile=profile, between=between, between_variance=variance, partitions=len(found))


def adjust(p_values: Sequence[float]) -> list[float]:
    """Benjamini-Hochberg adjusted p-values, in the order given."""
    from scipy.stats import false_discovery_control

    return [float(q) for q in false_discovery_control(list(p_values))] if p_values else []


def _count_vector(profile: ColumnProfile) -> np.ndarray[Any, Any]:
    import numpy as np

    counts = list(profile.counts)
    if counts:
        counts[-1] += profile.unseen
    return np.array([*counts, profile.nulls], dtype=float)


def _degrees_of_freedom(profile: ColumnProfile) -> float:
    return float(max(sum(1 for n in _count_vector(profile) if n) - 1, 1))


def _quiet_distribution(reference: ReferenceColumn, rows: int) -> tuple[float, Any]:
    """The mean PSI of a partition of so many rows without drift, and the distribution of PSI / mean."""
    from scipy.stats import chi2, f

    d, scale = _degrees_of_freedom(reference.profile), 1 / rows + 1 / max(reference.profile.rows, 1)
    mean = d * scale + reference.between
    variance = 2 * d * scale**2 + 4 * reference.between * scale + reference.between_variance
    k = max(2 * mean**2 / variance, 1.0)
    if reference.partitions < 2:
        return mean, chi2(k, scale=1 / k)
    return mean, f(k, reference.partitions - 1)


def _against_rest(profile: ColumnProfile, part: ColumnProfile) -> tuple[float, float]:
    """PSI of one partition against all others (the whole would include itself), and the scale s."""
    rest = _count_vector(profile) - _count_vector(part)
    value, _ = psi(rest, _count_vector(part))
    return value, 1 / float(rest.sum()) + 1 / part.rows


def _p_value_threshold(p_values: Sequence[float], rate: float) -> float:
    """The p-value at which a column alarms in this partition, by Benjamini-Hochberg."""
    ordered, count = sorted(p_values), max(len(p_values), 1)
    steps = [rate * rank / count for rank in range(1, count + 1)]
    passed = [step for p, step in zip(ordered, steps, strict=False) if p <= step]
    return max(passed, default=rate / count)


def _limit(column: ReferenceColumn, rows: int, threshold: float) -> float:
    if not rows:
        return 0.0
    mean, quiet = _quiet_distribution(column, rows)
    return float(quiet.isf(threshold) * mean)


def _shares(column: ReferenceColumn, profile: ColumnProfile) -> list[DriftStatistic]:
    rows, whole = max(profile.rows, 1), max(column.profile.rows, 1)
    found = [_statistic(profile, "null_share", profile.nulls / rows, reference=column.profile.nulls / whole)]
    if profile.kind == "categorical":
        unseen = column.profile.unseen / whole
        found.append(_statistic(profile, "unseen_share", profile.unseen / rows, reference=unseen))
    return found


def _statistic(
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
