"""What a deployment does with rows that are not as they should be, and how much it takes on at all."""

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
    "invalid_text",
    "inexact",
]
MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySpec:
    """What becomes of a row, by what is wrong with it; every such row is counted, by column.

    ``quarantine`` quarantines the row, with its reason, file and row; ``fail`` does so too and refuses to
    publish the partition; ``pass`` scores it all the same.

    Attributes:
        null_key: a key column is null.
        duplicate_key: another row of the partition has the same keys; all of them are meant, because
            nobody can say which is right.
        null: a feature that the model's signature requires is null. A model that takes missing values
            wants ``pass``; integer features have no way to pass a null and quarantine it.
        nan, infinity: a feature is NaN, or infinite.
        out_of_range: a feature lies outside its ``ranges``.
        unseen_category: a feature is none of its ``categories``.
        large_cell: a text or binary value takes more than ``max_cell_bytes``.
        invalid_text: a text is not UTF-8. Quarantine holds it with the bytes at fault escaped, because many
            readers refuse a whole column for one such cell.
        inexact: a timestamp in a key or kept column is finer than the microseconds that are written, or one
            of INT96 is finer, or further away, than microseconds tell.
        output: the model's answer for the row is missing (None, NaN, masked), or does not fit the declared
            type (infinity, 1.7 for an integer, an overflow).
        nondeterministic: the model answers the same rows differently when asked twice (a few rows of each
            piece of work are).
        ranges: column to [lowest, highest]; null for no bound; both included.
        categories: column to the values that are known.
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
    invalid_text: Strict = "quarantine"
    inexact: Strict = "quarantine"
    output: Strict = "quarantine"
    nondeterministic: Literal["fail", "pass"] = "fail"
    ranges: dict[str, tuple[float | None, float | None]] | None = None
    categories: dict[str, tuple[str, ...]] | None = None
    max_cell_bytes: int = 16 * MEBIBYTE

    def action(self, rule: Rule) -> Action:
        """What becomes of a row that breaks a rule."""
        found: Action = getattr(self, rule)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsSpec:
    """How much one run takes on; more is refused before any row is read, or stopped.

    Attributes:
        files, rows, cells: of one partition; cells are rows times columns.
        uncompressed_gib: of one partition, as its footers say.
        footer_mib: of one file.
        minutes: wall-clock time of one run, in Airflow of one task; null for no limit.
        model_files, model_gib: of one model; a registry's listing is asked before anything is downloaded.
        model_seconds: what a model's first load and first rows may take, in a process of their own.
        worker_memory_mib: what a Python worker of Spark may take (``spark.executor.pyspark.memory``); a
            batch that does not fit is split, down to a row. Null for no limit.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    files: int = 10_000
    rows: int = 1_000_000_000
    cells: int = 100_000_000_000
    uncompressed_gib: float = 1024
    footer_mib: float = 64
    model_files: int = 10_000
    model_gib: float = 64
    minutes: float | None = None
    worker_memory_mib: int | None = None
    model_seconds: float = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyViolation:
    """How many rows broke a rule in a column, and what became of them."""

    __pydantic_config__ = FORBID_UNKNOWN
    rule: Rule
    column: str
    action: Action
    rows: int


def policy_problems(policy: PolicySpec) -> Iterator[Problem]:
    """What is wrong with it beyond the types of its values."""
    for column, (low, high) in (policy.ranges or {}).items():
        if low is not None and high is not None and not low <= high:
            yield Problem(f"policy.ranges.{column}", "the lowest is above the highest", f"{low:g}, {high:g}")
    for column, values in (policy.categories or {}).items():
        if not values:
            yield Problem(f"policy.categories.{column}", "names no category")
