"""What moved and by how much, in sentences and in the columns' own units."""

from __future__ import annotations

from collections.abc import Iterable

from batchdeploy.core.records import DriftReport, DriftStatistic

# Of several alarms of one column, the one that is easiest to act on is told.
ORDER = (
    "null_share", "unseen_share", "location", "outside_share", "scale", "top_share", "shape",
    "skewness", "tails", "psi",
)  # fmt: skip
NAMED = 3


def moved(report: DriftReport) -> tuple[DriftStatistic, ...]:
    """One row for each column with an alarm, in the order of `DriftReport.alarms`."""
    return tuple(
        _plainest(row for row in report.statistics if row.alarm and row.column == name)
        for name in report.alarms
    )


def headline(report: DriftReport) -> str:
    """The verdict in one sentence: what moved most, and how many columns besides."""
    rows = moved(report)
    if not rows:
        return ""
    others = [f"`{row.column}`" for row in rows[1:]]
    named = ", ".join(others[:NAMED]) + (f" and {len(others) - NAMED} more" if len(others) > NAMED else "")
    return describe(rows[0]) + (f"; {named} moved, too" if others else "")


def describe(row: DriftStatistic) -> str:
    """One statistic as a sentence, without a full stop."""
    name, share = f"`{row.column}`", f"{row.value:.1%}"
    match row.statistic:
        case "null_share":
            return f"{share} of {name} is null, {_ordinarily(row, '.1%')}"
        case "unseen_share":
            return f"{share} of {name} is in unseen categories, {_ordinarily(row, '.1%')}"
        case "outside_share":
            return f"{share} of {name} is outside the reference's range, {_ordinarily(row, '.1%')}"
        case "top_share":
            return f"{share} of {name} is in one bin, {_ordinarily(row, '.1%')}"
        case "shape":
            return f"{share} of {name} is {row.detail}, {_ordinarily(row, '.1%')}"
        case "location":
            difference = row.value - (row.reference or 0.0)
            way = "lower" if difference < 0 else "higher"
            mean = f"mean {_number(row.value)}, {_ordinarily(row)}"
            return f"{name} is {_number(abs(difference))} {way} than in ordinary partitions ({mean})"
        case "scale":
            return f"the standard deviation of {name} is {_number(row.value)}, {_ordinarily(row)}"
        case "skewness":
            return f"the skewness of {name} is {_number(row.value)}, {_ordinarily(row)}"
        case "tails":
            return f"the kurtosis of {name} is {_number(row.value)}, {_ordinarily(row)}"
        case _:
            return f"PSI of {name} {row.value:.3f}"


def _plainest(rows: Iterable[DriftStatistic]) -> DriftStatistic:
    return min(rows, key=lambda row: ORDER.index(row.statistic))


def _ordinarily(row: DriftStatistic, form: str = "") -> str:
    low, high = (format(one, form) if form else _number(one) for one in (row.low or 0.0, row.high or 0.0))
    return f"ordinarily {low}" if low == high else f"ordinarily {low} to {high}"


def _number(value: float) -> str:
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
