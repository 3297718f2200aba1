"""Drift: how far a partition deviates from the reference, and whether that is within ordinary variation.

Each column is asked several questions (`batchdeploy.core.drift_statistics`), and each answer is compared with
how far the reference's own partitions vary (`batchdeploy.core.drift_variation`). One threshold for all
questions of all columns follows from Benjamini and Hochberg (JRSS B 57, 1995) at the deployment's false alarm
rate. Certainty is not importance: an alarm also needs an effect of at least `FLOORS`, and a share or a bin
has to be beyond all of the reference's partitions by half of their range, since shares of few partitions are
no sample to extrapolate from.

A question is not measured where the reference has fewer than `MIN_PARTITIONS` partitions, or the partition
fewer than `MIN_ROWS` rows for it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from batchdeploy.core.deployment import DriftSpec
from batchdeploy.core.drift_calibration import MIN_PARTITIONS, Calibration, calibrate
from batchdeploy.core.drift_sentences import describe
from batchdeploy.core.drift_statistics import current_table, statistics_of
from batchdeploy.core.profiles import ColumnProfile, Reference
from batchdeploy.core.records import DriftReport, DriftStatistic, Verdict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

    Array = np.ndarray[Any, np.dtype[np.float64]]

MIN_ROWS = 30
# Smaller effects never alarm: shares of rows; location in units of the reference's spread; scale, skewness
# and tails as differences of logarithms or nearly so.
FLOORS = {
    "null_share": 0.05, "outside_share": 0.05, "unseen_share": 0.05, "top_share": 0.4, "shape": 0.02,
    "location": 0.1, "scale": 0.1, "skewness": 0.3, "tails": 0.3,
}  # fmt: skip
HALF, NEARLY_ALL = 0.5, 0.8
# Evidence up to so many times weaker than an alarm is worth a look.
WATCHED = 10.0
# Asked of numeric columns only if their partitions hardly move: bins lie where they lay in the reference.
FIXED = ("shape", "top_share")
WHOLE_ROWS = ("null_share", "outside_share", "unseen_share")
ONE_SIDED = ("outside_share", "unseen_share", "top_share")

SHARES = ("null_share", "outside_share", "unseen_share", "top_share", "shape")


class Answer(NamedTuple):
    """One question's answer: the statistic that is most surprising, and its p-value for all of them."""

    place: int
    name: str
    row: int
    p_value: float
    effect: float


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


def adjust(p_values: Sequence[float]) -> list[float]:
    """Benjamini-Hochberg adjusted p-values, in the order given."""
    from scipy.stats import false_discovery_control

    return [float(q) for q in false_discovery_control(list(p_values))] if p_values else []


def judge(
    reference: Reference, current: Sequence[ColumnProfile], spec: DriftSpec, *, run_id: str
) -> DriftReport:
    """The drift report: statistics of every column, and the verdict on all of them."""
    calibration = calibrate(reference)
    if calibration is None:
        most = max((len(column.partitions) for column in reference.columns), default=0)
        note = f"the reference has {most} partitions, and ordinary variation takes {MIN_PARTITIONS}"
        return not_measured(note, current, run_id=run_id)
    return judge_calibrated(calibration, current, spec, run_id=run_id)


def judge_calibrated(
    calibration: Calibration, current: Sequence[ColumnProfile], spec: DriftSpec, *, run_id: str
) -> DriftReport:
    """As `judge`, for several partitions and one reference."""
    # Counts of an earlier version have no moments, and cannot be judged.
    by_name = {(one.role, one.name): one for one in current if one.kind != "numeric" or len(one.moments) == 4}
    profiles = [by_name.get((profile.role, profile.name)) for profile in calibration.profiles]
    values, rows = _measured(calibration, profiles)
    answers = _answers(calibration, values, rows)
    distances = [
        None if profile is None else psi(_count_vector(before), _count_vector(profile))[0]
        for before, profile in zip(calibration.profiles, profiles, strict=True)
    ]
    matters = [_matters(answer, distances[answer.place], spec) for answer in answers]
    q_values = adjust([one.p_value if large else 1.0 for one, large in zip(answers, matters, strict=True)])
    found = [
        _statistic(calibration, answer, values, rows, q=q, alarm=large and q <= spec.false_alarm_rate)
        for answer, large, q in zip(answers, matters, q_values, strict=True)
    ]
    found += [
        DriftStatistic(column=now.name, role=now.role, statistic="psi", value=distance, rows=now.rows)
        for now, distance in zip(profiles, distances, strict=True)
        if now is not None and distance is not None
    ]
    if not answers:
        return not_measured(f"no column has {MIN_ROWS} rows", current, run_id=run_id)
    watched = [
        one for one in found if not one.alarm and (one.q_value or 1.0) <= WATCHED * spec.false_alarm_rate
    ]
    return DriftReport(
        run_id=run_id,
        verdict=_verdict(found, watched),
        statistics=tuple(found),
        profile=tuple(current),
        notes=tuple(f"unusual, but no alarm: {describe(one)}" for one in watched),
    )


def not_measured(note: str, current: Sequence[ColumnProfile], *, run_id: str) -> DriftReport:
    """The report of a partition that could not be judged, and why."""
    profile = tuple(current)
    return DriftReport(run_id=run_id, verdict="not measured", statistics=(), profile=profile, notes=(note,))


def _verdict(found: Sequence[DriftStatistic], watched: Sequence[DriftStatistic]) -> Verdict:
    alarms = [one for one in found if one.alarm]
    if any(one.role == "output" or _concerns_half(one) for one in alarms):
        return "critical"
    if alarms:
        return "warning"
    return "watch" if watched else "ok"


def _concerns_half(row: DriftStatistic) -> bool:
    return row.statistic in WHOLE_ROWS and abs(row.value - (row.reference or 0.0)) >= HALF


def _measured(calibration: Calibration, profiles: Sequence[ColumnProfile | None]) -> tuple[Array, Array]:
    """Each statistic of this partition and its rows; no rows where a column is missing."""
    import numpy as np

    values, rows = np.zeros(len(calibration.statistics)), np.zeros(len(calibration.statistics))
    at = 0
    sizes = Counter(place for place, _ in calibration.statistics)
    for place, profile in enumerate(profiles):
        if profile is not None:
            ours = statistics_of(profile.kind, current_table(profile))
            values[at : at + len(ours)] = [one.values[0] for one in ours]
            rows[at : at + len(ours)] = [one.rows[0] for one in ours]
        at += sizes[place]
    return values, rows


def _answers(calibration: Calibration, values: Array, rows: Array) -> list[Answer]:
    """The answers of all columns to all questions that can be measured."""
    import numpy as np

    high, low = calibration.variation.tails(values, rows)
    both = np.minimum(1.0, 2 * np.minimum(high, low))
    names = np.array([one.name for _, one in calibration.statistics])
    # Log odds are those of the share just before them.
    before = np.append("", names[:-1])
    upwards = np.isin(np.where(names == "log_odds", before, names), ONE_SIDED)
    p_values = np.where(upwards, high, both)
    p_values = np.where(np.isin(names, SHARES) & _within_reach(calibration, values), 1.0, p_values)
    effects = values - calibration.variation.mean
    few = rows < np.where(
        np.isin(names, ("skewness", "tails")), calibration.variation.most_rows / 2, MIN_ROWS
    )
    questions: dict[tuple[int, str], list[int]] = {}
    for row, (place, one) in enumerate(calibration.statistics):
        if one.name == "log_odds":
            # The share just before it: both scales have to agree, unless nearly all rows moved. Where whole
            # partitions move, a share beyond a fixed edge grows exponentially, which log odds know.
            if not (calibration.statistics[row - 1][1].name in ONE_SIDED and effects[row - 1] >= NEARLY_ALL):
                p_values[row - 1] = max(p_values[row - 1], p_values[row])
        elif not few[row] and (one.name not in FIXED or calibration.steady[place]):
            questions.setdefault((place, one.name), []).append(row)
    found = []
    for (place, name), asked in questions.items():
        floor = FLOORS[name]
        # Among bins that moved enough, if any did.
        enough = [row for row in asked if abs(effects[row]) >= floor] or asked
        best = min(enough, key=lambda row: float(p_values[row]))
        p = min(1.0, len(asked) * float(p_values[best]))
        found.append(Answer(place, name, best, p, float(effects[best])))
    return found


def _within_reach(calibration: Calibration, values: Array) -> np.ndarray[Any, Any]:
    """Where a value is less than half a range beyond the reference's partitions."""
    import numpy as np

    ordinary = calibration.variation.samples.values
    lowest, highest = ordinary.min(1), ordinary.max(1)
    half = (highest - lowest) / 2
    reach: np.ndarray[Any, Any] = np.logical_and(values >= lowest - half, values <= highest + half)
    return reach


def _matters(answer: Answer, distance: float | None, spec: DriftSpec) -> bool:
    """Whether the effect is large enough for an alarm."""
    effect = answer.effect if answer.name in ONE_SIDED else abs(answer.effect)
    shifted = answer.name != "shape" or (distance or 0.0) >= spec.min_psi
    return effect >= FLOORS[answer.name] and shifted


def _statistic(
    calibration: Calibration, answer: Answer, values: Array, rows: Array, *, q: float, alarm: bool
) -> DriftStatistic:
    profile = calibration.profiles[answer.place]
    one = calibration.statistics[answer.row][1]
    ordinary = calibration.variation.samples.values[answer.row]
    shown = [
        in_units(profile, answer.name, float(number))
        for number in (
            values[answer.row], calibration.variation.mean[answer.row], ordinary.min(), ordinary.max()
        )
    ]  # fmt: skip
    return DriftStatistic(
        column=profile.name,
        role=profile.role,
        statistic=answer.name,  # type: ignore[arg-type]
        value=shown[0],
        reference=shown[1],
        low=shown[2],
        high=shown[3],
        p_value=answer.p_value,
        q_value=q,
        alarm=alarm,
        rows=int(rows[answer.row]),
        detail=bin_name(profile, one.place) if answer.name == "shape" else "",
    )


def in_units(profile: ColumnProfile, name: str, value: float) -> float:
    """A statistic in the units that people know: those of the column for location and scale."""
    if name == "location":
        return profile.center + profile.unit * value
    if name == "scale":
        return profile.unit * math.exp(value)
    return {"skewness": math.sinh, "tails": math.exp}.get(name, float)(value)


def bin_name(profile: ColumnProfile, place: int) -> str:
    """A bin as people would say it: a category, or the numbers between two edges."""
    if profile.kind == "categorical":
        return profile.categories[place] if place < len(profile.categories) else "rare categories"
    low, high = profile.edges[place - 1], profile.edges[place]
    return f"{low:.6g} to {high:.6g}"


def _count_vector(profile: ColumnProfile) -> Array:
    import numpy as np

    counts = list(profile.counts)
    if counts:
        counts[-1] += profile.unseen
    return np.array([*counts, profile.nulls], dtype=float)
