"""Champion and challenger on the same rows: what would change if the alias moved."""

from __future__ import annotations

from dataclasses import dataclass

from batchdeploy.core import FORBID_UNKNOWN
from batchdeploy.core.records import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputDifference:
    """How one output differs between two models, row by row.

    Attributes:
        champion_mean, challenger_mean: means over the rows both models scored; null for text.
        mean_difference: mean of the absolute differences; null for text.
        max_difference: the largest absolute difference; null for text.
        changed_share: the share of rows whose value is not the same, 0 to 1.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    name: str
    champion_mean: float | None
    challenger_mean: float | None
    mean_difference: float | None
    max_difference: float | None
    changed_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Both models on one partition.

    Attributes:
        rows: rows that both models scored.
        champion_only, challenger_only: rows that only one of them could score.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    deployment: str
    partition: str
    model: str
    alias: str
    champion: int
    challenger: int
    rows: int
    champion_only: int
    challenger_only: int
    champion_drift: Verdict
    challenger_drift: Verdict
    outputs: tuple[OutputDifference, ...]
    compared_at: str
