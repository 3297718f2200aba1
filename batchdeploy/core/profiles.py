"""Binned distributions as records: a column's profile, and the reference that drift is measured against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from batchdeploy.core import FORBID_UNKNOWN

Role = Literal["feature", "output"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnProfile:
    """The binned distribution of one column.

    ``counts`` are rows: for a numeric column one for each bin between the ``edges`` (len(edges) + 1 of
    them; a value equal to an edge falls below it), for a categorical one, one for each of ``categories``,
    then one for the ``rare`` ones together. Nulls (and NaN) and categories never seen count apart.
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
    """A column's reference distribution, and how far whole quiet partitions lie from it.

    Attributes:
        between, between_variance: mean and variance, over the reference's own partitions, of that part of
            their PSI which more rows would not make smaller; see `batchdeploy.core.drift`.
        partitions: how many partitions that was learned from; 0 where rows were taken as independent.
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
