"""The row policy and the limits of a deployment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from batchdeploy.core import FORBID_UNKNOWN
from batchdeploy.errors import Problem

Action = Literal["fail", "quarantine", "pass"]
Strict = Literal["fail", "quarantine"]
Rule = Literal[
    "null_key",
    "duplicate_key",
    "null",
    "nan",
    "infinity",
    "out_of_range",
    "unseen_category",
    "large_cell",
    "wrong_length",
    "invalid_text",
    "inexact",
    "cast",
    "other_partition",
]
MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySpec:
    """The action for a row that violates a rule; violations are counted by rule and column.

    ``quarantine`` writes the row to quarantine with its reason, file and row number; ``fail`` does the same
    and refuses to publish the partition; ``pass`` scores the row.

    Attributes:
        null_key: a key column is null.
        duplicate_key: another row of the partition has the same keys. The rule applies to all of these rows,
            because none is known to be the right one.
        null: a feature that the model's signature requires is null. Use ``pass`` for a model
            that handles missing values; a null in an integer feature is always quarantined.
        nan, infinity: a feature is NaN, or infinite.
        out_of_range: a feature is outside its ``ranges``.
        unseen_category: a feature is not one of its ``categories``.
        large_cell: a text or binary value is larger than ``max_cell_bytes``.
        wrong_length: a list does not have as many elements as the model's tensor takes.
        invalid_text: a text is not UTF-8. Quarantine stores it with the invalid bytes escaped, because many
            readers reject a whole column for one such cell.
        inexact: a timestamp in a key or kept column is finer than the microseconds that are written, or an
            INT96 timestamp is finer than microseconds or outside their range.
        cast: ``data.casts`` would change a value beyond the precision of the declared type, or the value is
            none of that type. Quarantine stores it as the file holds it.
        other_partition: the file has the partition column, or another column of its path, with a value that
            is not its folder's.
        output: the model's output for the row is missing (None, NaN, masked) or does not fit the declared
            type (infinity, 1.7 for an integer, an overflow).
        nondeterministic: the model's predictions differ when the same rows are predicted twice (a few rows of
            each split are).
        ranges: column to [lowest, highest], both inclusive; null for no bound.
        categories: column to its known values.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    null_key: Action = "quarantine"
    duplicate_key: Action = "quarantine"
    null: Action = "pass"
    nan: Action = "pass"
    infinity: Action = "quarantine"
    out_of_range: Action = "quarantine"
    unseen_category: Action = "quarantine"
    large_cell: Action = "quarantine"
    wrong_length: Strict = "quarantine"
    invalid_text: Strict = "quarantine"
    inexact: Strict = "quarantine"
    cast: Strict = "quarantine"
    other_partition: Strict = "quarantine"
    output: Strict = "quarantine"
    nondeterministic: Literal["fail", "pass"] = "fail"
    ranges: dict[str, tuple[float | None, float | None]] | None = None
    categories: dict[str, tuple[str, ...]] | None = None
    max_cell_bytes: int = 16 * MEBIBYTE

    def action(self, rule: Rule) -> Action:
        """The action for a row that violates the rule."""
        found: Action = getattr(self, rule)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsSpec:
    """The limits of one run; a larger run is refused before any row is read, or stopped.

    Attributes:
        files, rows, cells: of one partition; cells are rows times columns.
        uncompressed_gib: of one partition, according to its footers.
        footer_mib: of one file.
        lookup_mib: of one table of ``data.lookups``: the memory that its columns take in each worker, and the
            size of its local files where they are sent to workers on other machines.
        minutes: wall-clock time of one run, in Airflow of one task; null for no limit.
        model_files, model_gib: of one model, according to the registry's listing, before any download.
        model_seconds: for a model's first load and first predictions, in a separate process.
        worker_memory_mib: memory of a Python worker of Spark (``spark.executor.pyspark.memory``); a batch
            that does not fit is halved, down to a single row. Null for no limit.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    files: int = 10_000
    rows: int = 1_000_000_000
    cells: int = 100_000_000_000
    uncompressed_gib: float = 1024
    footer_mib: float = 64
    lookup_mib: float = 256
    model_files: int = 10_000
    model_gib: float = 64
    minutes: float | None = None
    worker_memory_mib: int | None = None
    model_seconds: float = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyViolation:
    """How many rows violated a rule in a column, and the action taken."""

    __pydantic_config__ = FORBID_UNKNOWN
    rule: Rule
    column: str
    action: Action
    rows: int


def policy_problems(policy: PolicySpec) -> Iterator[Problem]:
    """The problems of a policy beyond the types of its values."""
    for column, (low, high) in (policy.ranges or {}).items():
        if low is not None and high is not None and not low <= high:
            yield Problem(f"policy.ranges.{column}", "the lowest is above the highest", f"{low:g}, {high:g}")
    for column, values in (policy.categories or {}).items():
        if not values:
            yield Problem(f"policy.categories.{column}", "names no category")
