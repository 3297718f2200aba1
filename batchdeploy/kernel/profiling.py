"""Counts values into the bins of a column profile, and merges profiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import inf, isfinite, nextafter
from typing import TYPE_CHECKING, Any

from batchdeploy.core.profiles import ColumnProfile, Role

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

BINS = 10
# The range is from this quantile to its counterpart, so that a few extreme values do not widen it.
OUTER = 0.005
# Moments are sums of values in units of the reference's spread, limited to this many, times FIXED_POINT.
LIMIT = 10.0
FIXED_POINT = 2**24
CATEGORIES = 20
RARE = 2_000


def empty(profile: ColumnProfile) -> ColumnProfile:
    """The same bins with zero counts."""
    moments = (0,) * 4 if profile.kind == "numeric" else ()
    return replace(profile, counts=(0,) * len(profile.counts), nulls=0, unseen=0, moments=moments)


def merge(first: ColumnProfile, second: ColumnProfile) -> ColumnProfile:
    """The sum of two profiles; associative and commutative.

    Raises:
        ValueError: the two do not have the same bins.
    """
    if empty(first) != empty(second):
        raise ValueError(f"the profiles of {first.name!r} and {second.name!r} have different bins")
    return replace(
        first,
        counts=tuple(a + b for a, b in zip(first.counts, second.counts, strict=True)),
        nulls=first.nulls + second.nulls,
        unseen=first.unseen + second.unseen,
        moments=tuple(a + b for a, b in zip(first.moments, second.moments, strict=True)),
    )


def count(bins: ColumnProfile, values: pa.Array) -> ColumnProfile:
    """Counts the values into the bins of ``bins``, ignoring its counts."""
    return _count_numeric(bins, values) if bins.kind == "numeric" else _count_categorical(bins, values)


def make_bins(name: str, role: Role, values: pa.Array) -> ColumnProfile:
    """Empty bins derived from these values.

    A numeric column gets up to 10 quantile bins (fewer if values tie) and one more at either end. Text and
    booleans get a bin for each of the 20 most frequent categories; the others share the bin ``rare``.
    """
    import numpy as np
    import pyarrow as pa

    if pa.types.is_boolean(values.type) or _is_text(values.type):
        names = value_counts(values)
        ordered = sorted(names, key=lambda text: (-names[text], text))
        top, rare = ordered[:CATEGORIES], ordered[CATEGORIES:]
        return ColumnProfile(
            name=name,
            role=role,
            kind="categorical",
            categories=tuple(top),
            rare=tuple(sorted(rare[:RARE])),
            counts=(0,) * (len(top) + 1),
        )
    numbers = as_numbers(values)
    finite = numbers[np.isfinite(numbers)]
    edges = _edges(finite)
    center, unit = _center_and_unit(finite)
    return ColumnProfile(
        name=name,
        role=role,
        kind="numeric",
        edges=edges,
        counts=(0,) * (len(edges) + 1),
        center=center,
        unit=unit,
        moments=(0,) * 4,
    )


def outer_range(numbers: np.ndarray[Any, Any]) -> tuple[float, float]:
    """The range of ordinary values: the 0.5% and the 99.5% quantile; the numbers are finite."""
    import numpy as np

    low = np.quantile(numbers, OUTER, method="lower")
    return float(low), float(np.quantile(numbers, 1 - OUTER, method="higher"))


def _edges(numbers: np.ndarray[Any, Any]) -> tuple[float, ...]:
    """Quantile bin edges, with one bin beyond either end for values outside the reference's range."""
    import numpy as np

    if not len(numbers):
        return ()
    # method="lower" takes edges from the data, so that a column of few distinct values gets
    # one bin for each of them instead of empty bins between.
    quantiles = np.quantile(numbers, np.arange(1, BINS) / BINS, method="lower")
    lowest, highest = outer_range(numbers)
    inner = [float(edge) for edge in np.unique(quantiles) if lowest <= edge < highest]
    below = nextafter(lowest, -inf)
    return (*([below] if isfinite(below) else []), *inner, highest)


def _center_and_unit(numbers: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Median and spread; where most values are equal, the standard deviation, and 1 where all are."""
    import numpy as np

    if not len(numbers):
        return 0.0, 1.0
    low, center, high = (float(q) for q in np.quantile(numbers, (0.25, 0.5, 0.75), method="lower"))
    with np.errstate(over="ignore", invalid="ignore"):
        spreads = ((high - low) / 1.349, float(np.std(numbers)))
    return center, next((spread for spread in spreads if isfinite(spread) and spread > 0), 1.0)


def _count_numeric(bins: ColumnProfile, values: pa.Array) -> ColumnProfile:
    import numpy as np

    numbers = as_numbers(values)
    nulls = int(np.count_nonzero(np.isnan(numbers)))
    # Comparing with each edge is much faster than a binary search per number. NaN is above no edge.
    above = [int(np.count_nonzero(numbers > edge)) for edge in bins.edges]
    reached = [len(numbers) - nulls, *above, 0]
    counts = tuple(more - less for more, less in pairwise(reached))
    return replace(bins, counts=counts, nulls=nulls, unseen=0, moments=_moments(bins, numbers))


def _moments(bins: ColumnProfile, numbers: np.ndarray[Any, Any]) -> tuple[int, ...]:
    """Sums of the first four powers; see `ColumnProfile`."""
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):
        z = (numbers - bins.center) / bins.unit
    np.clip(z, -LIMIT, LIMIT, out=z)
    # NaN stands for null, and counts nothing.
    np.nan_to_num(z, copy=False, nan=0.0)
    square = z * z
    sums = (z.sum(), square.sum(), np.einsum("i,i", square, z), np.einsum("i,i", square, square))
    return tuple(round(float(one) * FIXED_POINT) for one in sums)


def _count_categorical(bins: ColumnProfile, values: pa.Array) -> ColumnProfile:
    places = {name: place for place, name in enumerate(bins.categories)}
    places |= dict.fromkeys(bins.rare, len(bins.categories))
    counts, unseen = [0] * (len(bins.categories) + 1), 0
    for name, rows in value_counts(values).items():
        place = places.get(name)
        if place is None:
            unseen += rows
        else:
            counts[place] += rows
    return replace(bins, counts=tuple(counts), nulls=values.null_count, unseen=unseen)


def value_counts(values: pa.Array) -> dict[str, int]:
    """The rows of each category; nulls are left out."""
    import pyarrow as pa

    if isinstance(values.type, pa.DictionaryType):
        values = values.dictionary_decode()
    table = values.drop_null().cast(pa.string()).value_counts()
    return dict(zip(table.field("values").to_pylist(), table.field("counts").to_pylist(), strict=True))


def as_numbers(values: pa.Array) -> np.ndarray[Any, Any]:
    """The values as doubles; null becomes NaN."""
    import pyarrow as pa

    numbers: np.ndarray[Any, Any] = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return numbers


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return isinstance(kind, pa.DictionaryType) or pa.types.is_string(kind) or pa.types.is_large_string(kind)


def count_batch(
    bins: Sequence[ColumnProfile], role: Role, columns: dict[str, pa.Array]
) -> dict[tuple[str, str], ColumnProfile]:
    """The profile of every column of a role, by (role, name); missing columns are left out."""
    return {
        (role, profile.name): count(profile, columns[profile.name])
        for profile in bins
        if profile.role == role and profile.name in columns
    }
