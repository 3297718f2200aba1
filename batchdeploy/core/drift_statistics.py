"""The statistics of a column that drift is judged by, each taken from the counts of its profile.

| statistic | of | value |
|---|---|---|
| null_share | all | rows that are null |
| outside_share | numbers | values outside the reference's range (its 0.5% to 99.5% quantiles) |
| unseen_share | categories | values that the reference does not have |
| location | numbers | mean of z: the value in units of the reference's spread, limited to -10 and 10 |
| scale | numbers | logarithm of the standard deviation of z within the partition |
| skewness, tails | numbers | asinh of the skewness, logarithm of the kurtosis of z within the partition |
| top_share | numbers | share of the fullest bin: 1 for a column that is stuck |
| shape | all | the share of one bin or category |

Skewness and kurtosis stay as they are when a whole partition moves or is stretched, so that they tell a
change of shape from an ordinary move. The share of a bin does not, and is asked of a numeric column only if
its partitions hardly move; a stuck column is found by its scale. The share of a category, or of values
outside the range, is judged on both scales, as it is and as log odds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from batchdeploy.core.profiles import ColumnProfile, PartitionCounts

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]

# A standard deviation of this, in units of the reference's spread, counts as none.
NO_SCALE = 1e-3
# With a variance below this, skewness and kurtosis would be rounding errors of the moments.
NO_SHAPE = 1e-3
FIXED_POINT = 2**24


class Table(NamedTuple):
    """Counts of one column, one row per partition.

    Attributes:
        valid: rows that are not null.
        outside: rows outside the reference's range, or of unseen categories.
    """

    counts: Array
    valid: Array
    nulls: Array
    outside: Array
    moments: Array


class Statistic(NamedTuple):
    """One statistic of a column over partitions.

    Attributes:
        name: as in the drift table, or ``log_odds``.
        place: the bin or category of a share.
        sampling, skewing: second and third central moment of one row's contribution, from these partitions.
        factor: whether ``sampling`` is only known up to a factor.
    """

    name: str
    place: int
    values: Array
    rows: Array
    sampling: float
    skewing: float = 0.0
    factor: bool = False


def reference_table(parts: Sequence[PartitionCounts]) -> Table:
    """The counts of a reference column's partitions."""
    import numpy as np

    counts = np.array([part.counts for part in parts], dtype=float)
    # A name that only this partition has would be unseen elsewhere: both count as rare.
    counts[:, -1] += [part.unseen for part in parts]
    return Table(
        counts=counts,
        valid=counts.sum(1),
        nulls=np.array([part.nulls for part in parts], dtype=float),
        outside=np.array([part.outside for part in parts], dtype=float),
        moments=np.array([part.moments for part in parts], dtype=float).reshape(len(parts), -1),
    )


def current_table(profile: ColumnProfile) -> Table:
    """The counts of one partition's profile."""
    import numpy as np

    counts = np.array([profile.counts], dtype=float)
    numeric = profile.kind == "numeric"
    ends = counts[0, 0] + counts[0, -1] if counts.shape[1] > 1 else counts.sum()
    counts[:, -1] += profile.unseen
    return Table(
        counts=counts,
        valid=counts.sum(1),
        nulls=np.array([profile.nulls], dtype=float),
        outside=np.array([ends if numeric else profile.unseen], dtype=float),
        moments=np.array([profile.moments], dtype=float),
    )


def statistics_of(kind: str, table: Table) -> list[Statistic]:
    """All statistics of a column over the table's partitions, in an order that depends on its bins only."""
    every = table.valid + table.nulls
    found = [_share("null_share", table.nulls, every)]
    if kind == "categorical":
        found.append(_share("unseen_share", table.outside, table.valid))
        for place in range(table.counts.shape[1]):
            found.append(_share("shape", table.counts[:, place], table.valid, place))
            found.append(_log_odds(table.counts[:, place], table.valid, place))
        return found
    found.append(_share("outside_share", table.outside, table.valid))
    found.append(_log_odds(table.outside, table.valid))
    found += _moments(table)
    inner = table.counts[:, 1:-1]
    if inner.shape[1]:
        found.append(_share("top_share", inner.max(1), table.valid))
    return found + [
        _share("shape", inner[:, place], table.valid, place + 1) for place in range(inner.shape[1])
    ]


def _share(name: str, counts: Array, rows: Array, place: int = -1) -> Statistic:
    import numpy as np

    values, total = counts / np.maximum(rows, 1), rows.sum()
    # Half a row more, so that what never happened does not become impossible.
    share = (counts.sum() + 0.5) / (total + 1)
    within = float((_weights(rows) * values * (1 - values)).sum())
    sampling = max(within, 0.02 * share * (1 - share))
    return Statistic(name, place, values, rows, sampling, sampling * (1 - 2 * share))


def _log_odds(counts: Array, rows: Array, place: int = -1) -> Statistic:
    import numpy as np

    share = (counts.sum() + 0.5) / (rows.sum() + 1)
    values = np.log((counts + 0.5) / (rows - counts + 0.5))
    return Statistic("log_odds", place, values, rows, float(1 / (share * (1 - share))))


def _moments(table: Table) -> list[Statistic]:
    """Location, scale, skewness and tails; see the module's table."""
    import numpy as np

    rows, weights = table.valid, _weights(table.valid)
    first, second, third, fourth = (table.moments / FIXED_POINT / np.maximum(rows, 1)[:, None]).T
    variance = np.maximum(second - first**2, 0)
    skew = third - 3 * first * second + 2 * first**3
    kurt = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
    within = float((weights * variance).sum())
    whole = within + float((weights * (first - (weights * first).sum()) ** 2).sum())
    kurtosis = float((weights * kurt).sum()) / max(within, 1e-9) ** 2
    least = np.maximum(variance, NO_SCALE**2)
    shaped = variance > NO_SHAPE
    skewness = np.where(shaped, np.arcsinh(skew / least**1.5), 0.0)
    tails = np.where(shaped, np.log(np.maximum(kurt / least**2, 1.0)), 0.0)
    return [
        Statistic(
            "location", -1, first, rows, max(within, 1e-3 * whole, 1e-6), float((weights * skew).sum())
        ),
        # The variance of the logarithm of a standard deviation, by the delta method.
        Statistic(
            "scale", -1, 0.5 * np.log(least), rows, max((min(max(kurtosis, 1.2), 100.0) - 1) / 4, 0.05)
        ),
        # Sampling variances of a normal sample; other distributions differ by a factor.
        Statistic("skewness", -1, skewness, rows, 6.0, factor=True),
        Statistic("tails", -1, tails, rows, 24 / 9, factor=True),
    ]


def _weights(rows: Array) -> Array:
    weights: Array = rows / max(float(rows.sum()), 1.0)
    return weights
