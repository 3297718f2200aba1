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

    @property
    def rows(self) -> int:
        return sum(self.counts) + self.nulls + self.unseen


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceColumn:
    """A column's reference distribution, and how far partitions without drift deviate from it.

    Attributes:
        between, between_variance: mean and variance, over the reference's own partitions, of the part of
            their PSI that does not shrink with more rows; see `batchdeploy.core.drift`.
        partitions: how many partitions this was estimated from; 0 if rows are assumed independent.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    profile: ColumnProfile
    between: float
    between_variance: float
    partitions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The reference profile: what drift is measured against."""

    __pydantic_config__ = FORBID_UNKNOWN
    description: str
    columns: tuple[ReferenceColumn, ...]
    format: Literal["batchdeploy.reference/1"] = "batchdeploy.reference/1"

    @property
    def profiles(self) -> tuple[ColumnProfile, ...]:
        return tuple(column.profile for column in self.columns)
