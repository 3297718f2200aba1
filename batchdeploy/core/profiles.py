"""Binned distributions: profiles of columns, and the reference that drift is measured against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from batchdeploy.core import FORBID_UNKNOWN

Role = Literal["feature", "output"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnProfile:
    """The binned distribution of one column.

    ``counts`` are numbers of rows. A numeric column has one per bin between the ``edges``, len(edges) + 1 in
    all; a value equal to an edge belongs to the bin below it. A categorical column has one per
    ``categories``, then one for all ``rare`` ones. Nulls (and NaN) and unseen categories are counted
    separately.

    Attributes:
        center, unit: the reference's median and spread (interquartile range / 1.349), in the column's
            units.
        moments: of a numeric column, the sums of z, z^2, z^3 and z^4 times 2**24, rounded for each batch,
            over the values that are not null; z = (value - center) / unit, limited to -10 and 10. Whole
            numbers, so that merging does not depend on the order.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    name: str
    role: Role
    kind: Literal["numeric", "categorical"]
    counts: tuple[int, ...]
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()
    nulls: int = 0
    unseen: int = 0
    center: float = 0.0
    unit: float = 1.0
    moments: tuple[int, ...] = ()

    @property
    def rows(self) -> int:
        return sum(self.counts) + self.nulls + self.unseen


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionCounts:
    """What a column held in one of the reference's partitions, in the bins of the reference.

    Attributes:
        counts, nulls, unseen, moments: as in `ColumnProfile`; ``unseen`` are categories beyond those that the
            reference names.
        outside: rows that would not have fitted a reference without this partition: numbers outside the range
            of the others (their 0.5% to 99.5% quantiles), or categories that the others do not have, with
            ``unseen``.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    counts: tuple[int, ...]
    nulls: int = 0
    unseen: int = 0
    moments: tuple[int, ...] = ()
    outside: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceColumn:
    """A column's reference distribution: all rows together, and each ordinary partition by itself."""

    __pydantic_config__ = FORBID_UNKNOWN
    profile: ColumnProfile
    partitions: tuple[PartitionCounts, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The reference profile: what drift is measured against.

    Attributes:
        partitions: the values of the partition column that it was made from, in the order of each column's
            ``partitions``.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    description: str
    columns: tuple[ReferenceColumn, ...]
    partitions: tuple[str, ...] = ()
    format: Literal["batchdeploy.reference/2"] = "batchdeploy.reference/2"

    @property
    def profiles(self) -> tuple[ColumnProfile, ...]:
        return tuple(column.profile for column in self.columns)
