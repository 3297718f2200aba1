"""Which values of a partition column can be run, and why others cannot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from batchdeploy.core.calendar import canonical_key
from batchdeploy.core.deployment import PartitionSpec
from batchdeploy.core.partition_names import NULL
from batchdeploy.core.pins import PartitionKey, check_partition
from batchdeploy.errors import PartitionError, Problem


def runnable(values: Sequence[str], spec: PartitionSpec) -> tuple[str, ...]:
    """The values that can be run, in the given order."""
    return tuple(value for value in values if _not_runnable(value, spec) is None)


def value_problems(values: Sequence[str], spec: PartitionSpec) -> Iterator[Problem]:
    """Yields why a value cannot be run, or would never be scheduled.

    A column whose values are not times (``region=EU``) is not checked against the key format.
    """
    timed = spec.start is not None or any(_is_time(value, spec.format) for value in values)
    for value in values:
        why = _not_runnable(value, spec)
        if why is None and timed:
            why = _format_problem(value, spec.format)
        if why is not None:
            yield Problem(spec.folder(value), why)


def partition_key(spec: PartitionSpec, value: str) -> PartitionKey:
    """A partition as pins hold it."""
    return PartitionKey(column=spec.column, value=value, key_format=spec.format, timezone=spec.timezone)


def known_hint(values: Sequence[str]) -> str | None:
    """How many partitions there are, the first and the last, for a hint; None if there is none."""
    known = [value for value in values if value != NULL]
    return f"there are {len(known)} from {known[0]} to {known[-1]}" if known else None


def _not_runnable(value: str, spec: PartitionSpec) -> str | None:
    if value == NULL:
        return f"holds the rows whose {spec.column} is null, and no run scores them"
    if any("\ud800" <= character <= "\udfff" for character in value):
        return "has a name that is not UTF-8; rename it"
    try:
        check_partition(spec.column, value)
    except PartitionError:
        return "is not a value that a run can be given; rename it"
    return None


def _format_problem(value: str, key_format: str) -> str | None:
    try:
        right = canonical_key(value, key_format)
    except ValueError:
        return f"is not written as {key_format!r}, so that no schedule asks for it"
    return None if right is None else f"is not written as {key_format!r}, which is {right}; rename it"


def _is_time(value: str, key_format: str) -> bool:
    try:
        canonical_key(value, key_format)
    except ValueError:
        return False
    return True
