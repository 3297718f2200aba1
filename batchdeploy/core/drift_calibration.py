"""A reference made ready to judge partitions by: every statistic of every column, and how it varies."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchdeploy.core.drift_statistics import Statistic, reference_table, statistics_of
from batchdeploy.core.profiles import ColumnProfile, Reference

if TYPE_CHECKING:
    import numpy as np

    from batchdeploy.core.drift_variation import Samples, Variation

    Array = np.ndarray[Any, np.dtype[np.float64]]

# With fewer partitions nobody can say how ordinary ones vary.
MIN_PARTITIONS = 7
# A numeric column's bins are asked only if its partitions' means vary by less than this share of the variance
# of rows: 0.06 standard deviations.
STEADY = 0.004


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A reference, ready to judge partitions by.

    Attributes:
        profiles: of the reference's columns.
        statistics: each statistic over the reference's partitions, with the position of its column.
        steady: per column, whether its bins are asked.
    """

    profiles: tuple[ColumnProfile, ...]
    statistics: tuple[tuple[int, Statistic], ...]
    variation: Variation
    steady: tuple[bool, ...]


def calibrate(reference: Reference) -> Calibration | None:
    """The reference's ordinary variation; None if it has too few partitions."""
    import numpy as np

    from batchdeploy.core.drift_variation import fit_variation

    columns = [column for column in reference.columns if len(column.partitions) >= MIN_PARTITIONS]
    found = [
        (place, statistic)
        for place, column in enumerate(columns)
        for statistic in statistics_of(column.profile.kind, reference_table(column.partitions))
    ]
    if not found:
        return None
    variation = fit_variation(_samples(found))
    moving = (variation.posterior * np.minimum(variation.between, 1.0)).sum(1)
    restless = {
        place
        for (place, statistic), moved in zip(found, moving, strict=True)
        if statistic.name == "location" and moved >= STEADY
    }
    return Calibration(
        profiles=tuple(column.profile for column in columns),
        statistics=tuple(found),
        variation=variation,
        steady=tuple(place not in restless for place in range(len(columns))),
    )


def _samples(found: list[tuple[int, Statistic]]) -> Samples:
    import numpy as np

    from batchdeploy.core.drift_variation import Samples

    sizes = Counter((place, one.name) for place, one in found)
    return Samples(
        values=np.array([_filled(one) for _, one in found]),
        rows=np.array([one.rows for _, one in found]),
        sampling=np.array([one.sampling for _, one in found]),
        skewing=np.array([one.skewing for _, one in found]),
        groups=np.array([one.name for _, one in found]),
        weights=np.array([1 / sizes[place, one.name] for place, one in found]),
        factors=np.array([one.factor for _, one in found]),
    )


def _filled(one: Statistic) -> Array:
    """The values, with the mean of the others where a partition has no rows for it."""
    import numpy as np

    known = one.rows > 0
    values: Array = np.where(known, one.values, one.values[known].mean() if known.any() else 0.0)
    return values
