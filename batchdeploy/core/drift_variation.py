"""How far a statistic of ordinary partitions varies, and how improbable a new value of it is.

A statistic y of a partition of n rows has the variance

    V = s2 (rho + 1 / n)

where s2 / n is what rows drawn independently would give, and s2 rho is how far partitions differ besides (a
day's flights share its weather). A handful of reference partitions says little about rho, while many
columns are asked the same question. So, as moderated variances do (Smyth, "Linear models and empirical Bayes
methods for assessing differential expression in microarray experiments", Statistical Applications in Genetics
and Molecular Biology 3, 2004), each column borrows from the others: rho has a discrete prior over a grid,
fitted to all columns by expectation maximisation (Laird, "Nonparametric maximum likelihood estimation of a
mixing distribution", JASA 73, 1978), together with a flat part of `FLAT` columns. Its likelihood is the
restricted one (REML), which knows that the mean is estimated, too. Where rows do not explain the variance
(skewness, tails), the grid is over factors of s2 instead.

The p-value averages Pearson III tails over the posterior of rho. Their variance includes that of the
estimated mean, which all later partitions share. Their skewness is that of the rows and, as far as partitions
differ, that of the reference's partitions; a tail is never thinner than the normal one. A partition with more
rows than the reference's had is judged as if it had as many, because nobody saw how such partitions vary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]

FLAT = 2.0
STEPS = 30
# So many numbers are held at once while means are fitted; all those of 1,000 columns and a year's days would
# take gigabytes.
AT_ONCE = 1 << 20
# Where a normal tail is above this, the skewness is not looked at.
NORMAL_ENOUGH = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What the reference's partitions showed: one row per statistic of a column, one column per partition.

    Attributes:
        values, rows: the statistic, and the rows it was taken from.
        sampling, skewing: second and third central moment of one row's contribution.
        groups: which rows share a prior.
        weights: how much a row counts for its prior; those of one column and group sum to 1.
        factors: the rows of ``values`` whose sampling variance is only known up to a factor.
    """

    values: Array
    rows: Array
    sampling: Array
    skewing: Array
    groups: np.ndarray[Any, Any]
    weights: Array
    factors: np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """The fitted variation; arrays have one row per statistic and one column per point of the grid.

    Attributes:
        means, errors: the ordinary mean, and the variance of its estimate.
        posterior: the probability of each point of the grid.
        between, factor: rho, and the factor of the sampling variance, at each point.
        skewness: the skewness of the partitions' values.
        most_rows: partitions with more rows are judged as if they had so many.
    """

    samples: Samples
    means: Array
    errors: Array
    posterior: Array
    between: Array
    factor: Array
    skewness: Array
    most_rows: Array

    @property
    def mean(self) -> Array:
        """The ordinary value of each statistic."""
        expected: Array = (self.posterior * self.means).sum(1)
        return expected

    def tails(self, values: Array, rows: Array) -> tuple[Array, Array]:
        """The probabilities of so high and of so low a value in a partition without drift."""
        import numpy as np
        from scipy.special import ndtr

        n = np.minimum(np.maximum(rows, 1.0), self.most_rows)[:, None]
        sampling = self.samples.sampling[:, None] * self.factor / n
        between = self.samples.sampling[:, None] * self.between
        deviation = np.sqrt(between + sampling + self.errors)
        varying = between + np.where(self.samples.factors[:, None], sampling, 0.0)
        third = self.samples.skewing[:, None] / n**2 + self.skewness[:, None] * varying**1.5
        z, skewness = (values[:, None] - self.means) / deviation, third / deviation**3
        high, low = ndtr(-z), ndtr(z)
        tails = [(self.posterior * side).sum(1) for side in (high, low)]
        # Skewness takes most of the time, and thickens tails only: elsewhere nothing could alarm.
        thin = np.minimum(*tails) < NORMAL_ENOUGH
        for tail, side, sign in zip(tails, (high, low), (1, -1), strict=True):
            thick = np.maximum(side[thin], upper_tail(sign * z[thin], sign * skewness[thin]))
            tail[thin] = (self.posterior[thin] * thick).sum(1)
        return tails[0], tails[1]


def fit_variation(samples: Samples) -> Variation:
    """Estimates means, the prior of each group, and the posterior of each statistic."""
    import numpy as np

    between, factor = _grid(samples.factors)
    rows = np.maximum(samples.rows, 1.0)
    step = max(1, AT_ONCE // (between.shape[1] * rows.shape[1]))
    parts = [slice(start, start + step) for start in range(0, len(rows), step)]
    fitted = [_fit_means(samples, part, between[part], factor[part]) for part in parts]
    means, errors, likelihood = (np.concatenate(found) for found in zip(*fitted, strict=True))
    return Variation(
        samples=samples,
        means=means,
        errors=errors,
        posterior=_posterior(likelihood, samples),
        between=between,
        factor=factor,
        skewness=_skewness(samples.values),
        most_rows=np.median(rows, axis=1),
    )


def _fit_means(samples: Samples, part: slice, between: Array, factor: Array) -> tuple[Array, Array, Array]:
    """Of some statistics, at each point of the grid: the mean, its variance, and the relative likelihood."""
    import numpy as np

    values, rows = samples.values[part, None, :], np.maximum(samples.rows[part, None, :], 1.0)
    variances = samples.sampling[part, None, None] * (between[:, :, None] + factor[:, :, None] / rows)
    precision = 1 / variances
    total = precision.sum(2)
    means = (precision * values).sum(2) / total
    squares = (precision * (values - means[:, :, None]) ** 2).sum(2)
    logs = -0.5 * (np.log(variances).sum(2) + np.log(total) + squares)
    return means, 1 / total, np.exp(logs - logs.max(1, keepdims=True))


def _grid(factors: np.ndarray[Any, np.dtype[np.bool_]]) -> tuple[Array, Array]:
    import numpy as np

    rho = np.array([0.0, *np.logspace(-5, 3, 17)])
    times = np.logspace(-1, 3, len(rho))
    return np.where(factors[:, None], 0.0, rho), np.where(factors[:, None], times, 1.0)


def _posterior(likelihood: Array, samples: Samples) -> Array:
    import numpy as np

    points = likelihood.shape[1]
    posterior = np.empty_like(likelihood)
    for group in np.unique(samples.groups):
        mine = samples.groups == group
        prior = np.full(points, 1 / points)
        for _ in range(STEPS):
            shares = likelihood[mine] * prior
            shares /= shares.sum(1, keepdims=True)
            prior = FLAT / points + (samples.weights[mine, None] * shares).sum(0)
            prior /= prior.sum()
        shares = likelihood[mine] * prior
        posterior[mine] = shares / shares.sum(1, keepdims=True)
    return posterior


def _skewness(values: Array) -> Array:
    import numpy as np

    deviations = values - values.mean(1, keepdims=True)
    spread = np.sqrt((deviations**2).mean(1, keepdims=True))
    # Values that differ by rounding only have no skewness.
    flat = spread <= 1e-12 * (1 + np.abs(values).max(1, keepdims=True))
    skewness: Array = ((deviations / np.where(flat, 1.0, spread)) ** 3).mean(1)
    return np.where(flat[:, 0], 0.0, skewness)


def upper_tail(z: Array, skewness: Array) -> Array:
    """The upper tail of the standardised Pearson III distribution, which is normal without skewness."""
    import numpy as np
    from scipy.special import gammainc, gammaincc, ndtr

    tail: Array = ndtr(-z)
    skewed = np.abs(skewness) > 0.01
    if skewed.any():
        skew = np.clip(skewness[skewed], -20.0, 20.0)
        shape = 4 / skew**2
        place = np.maximum(shape + z[skewed] * np.sqrt(shape) * np.sign(skew), 0.0)
        tail[skewed] = np.where(skew > 0, gammaincc(shape, place), gammainc(shape, place))
    return tail
