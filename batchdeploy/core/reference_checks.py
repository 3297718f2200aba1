"""Plausibility checks on counts and calibrations read from a record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from batchdeploy.core.profiles import ColumnProfile, Reference, ReferenceColumn
from batchdeploy.errors import Problem

MAX_ROWS = 2**63 - 1
# PSI of n and m rows stays below 2 ln(2 max(n, m)), which is 89 for 2**63 rows.
MAX_PSI = 100.0


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
    names = Counter((profile.role, profile.name) for profile in reference.profiles)
    for (role, name), times in names.items():
        if times > 1:
            yield Problem(name, f"this {role} is listed twice")


def _column(column: ReferenceColumn) -> Iterator[Problem]:
    profile = column.profile
    yield from _counts(profile)
    if not profile.rows:
        yield Problem(profile.name, "has no rows")
    if not 0 <= column.partitions <= MAX_ROWS:
        what = "a negative number" if column.partitions < 0 else "more than there can be"
        yield Problem(f"{profile.name}.partitions", what, str(column.partitions))
    calibration = {"between": (column.between, 1), "between_variance": (column.between_variance, 2)}
    for key, (value, power) in calibration.items():
        if value > MAX_PSI**power:
            yield Problem(f"{profile.name}.{key}", "more than any two samples differ", f"{value:g}")
    if not is_consistent(column):
        yield Problem(profile.name, "bins, counts or calibration do not agree")
    named = Counter((*profile.categories, *profile.rare))
    if twice := [category for category, times in named.items() if times > 1]:
        yield Problem(profile.name, "a category is named twice", ", ".join(twice))


def is_consistent(column: ReferenceColumn) -> bool:
    """Whether a reference column has one count per bin, ascending edges and a non-negative calibration."""
    profile = column.profile
    bins = len(profile.edges) + 1 if profile.kind == "numeric" else len(profile.categories) + 1
    ascending = all(low < high for low, high in zip(profile.edges, profile.edges[1:], strict=False))
    calibrated = column.between >= 0 and column.between_variance >= 0
    return len(profile.counts) == bins and ascending and calibrated


def _counts(profile: ColumnProfile) -> Iterator[Problem]:
    facts = {"counts": profile.counts, "nulls": (profile.nulls,), "unseen": (profile.unseen,)}
    for key, numbers in facts.items():
        lowest, total = min(numbers, default=0), sum(numbers)
        if lowest < 0:
            yield Problem(f"{profile.name}.{key}", "a negative number of rows", str(lowest))
        elif total > MAX_ROWS:
            yield Problem(f"{profile.name}.{key}", "more rows than 64 bits can count", f"{float(total):g}")
