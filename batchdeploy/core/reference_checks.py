"""Plausibility checks on counts and calibrations read from a record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from batchdeploy.core.profiles import ColumnProfile, PartitionCounts, Reference, ReferenceColumn
from batchdeploy.errors import Problem

MAX_ROWS = 2**63 - 1
MOMENTS = 4
# The fourth power of 10 in fixed point, and room for rounding.
MAX_MOMENT = 2**24 * (10.0**4 + 1)


def record_problems(record: object) -> Iterator[Problem]:
    """The problems of a record's counts beyond their types; none for a record without counts."""
    if isinstance(record, Reference):
        yield from _reference(record)
    profiles = getattr(record, "profile", ())
    for profile in profiles if isinstance(profiles, tuple) else ():
        yield from _counts(profile)


def _reference(reference: Reference) -> Iterator[Problem]:
    for column in reference.columns:
        yield from _column(column)
    if len({len(column.partitions) for column in reference.columns}) > 1:
        yield Problem("columns", "have different numbers of partitions")
    names = Counter((profile.role, profile.name) for profile in reference.profiles)
    for (role, name), times in names.items():
        if times > 1:
            yield Problem(name, f"this {role} is listed twice")


def _column(column: ReferenceColumn) -> Iterator[Problem]:
    profile = column.profile
    yield from _counts(profile)
    if not profile.rows:
        yield Problem(profile.name, "has no rows")
    for part in column.partitions:
        yield from _partition(profile.name, part)
    if not is_consistent(column):
        yield Problem(profile.name, "bins, counts or partitions do not agree")
    named = Counter((*profile.categories, *profile.rare))
    if twice := [category for category, times in named.items() if times > 1]:
        yield Problem(profile.name, "a category is named twice", ", ".join(twice))


def is_consistent(column: ReferenceColumn) -> bool:
    """Whether a reference column has one count per bin, ascending edges, a unit, and all its moments."""
    profile = column.profile
    numeric = profile.kind == "numeric"
    bins = len(profile.edges) + 1 if numeric else len(profile.categories) + 1
    ascending = all(low < high for low, high in zip(profile.edges, profile.edges[1:], strict=False))
    moments = MOMENTS if numeric else 0
    matching = all(len(one.counts) == bins and len(one.moments) == moments for one in column.partitions)
    return len(profile.counts) == bins and ascending and matching and profile.unit > 0


def _partition(name: str, part: PartitionCounts) -> Iterator[Problem]:
    facts = {"counts": part.counts, "nulls": (part.nulls,)}
    facts |= {"unseen": (part.unseen,), "outside": (part.outside,)}
    for key, numbers in facts.items():
        if min(numbers, default=0) < 0:
            yield Problem(f"{name}.partitions.{key}", "a negative number of rows", str(min(numbers)))
        elif sum(numbers) > MAX_ROWS:
            text = "more rows than 64 bits can count"
            yield Problem(f"{name}.partitions.{key}", text, f"{float(sum(numbers)):g}")
    rows = sum(part.counts) + part.nulls + part.unseen
    if part.outside > rows:
        yield Problem(f"{name}.partitions.outside", f"more than its {rows} rows", str(part.outside))
    least, most = (round(sign * rows * MAX_MOMENT) for sign in (-1, 1))
    if any(not least <= moment <= most for moment in part.moments):
        yield Problem(f"{name}.partitions.moments", f"more than {rows} rows can have", str(max(part.moments)))


def _counts(profile: ColumnProfile) -> Iterator[Problem]:
    facts = {"counts": profile.counts, "nulls": (profile.nulls,), "unseen": (profile.unseen,)}
    for key, numbers in facts.items():
        lowest, total = min(numbers, default=0), sum(numbers)
        if lowest < 0:
            yield Problem(f"{profile.name}.{key}", "a negative number of rows", str(lowest))
        elif total > MAX_ROWS:
            yield Problem(f"{profile.name}.{key}", "more rows than 64 bits can count", f"{float(total):g}")
