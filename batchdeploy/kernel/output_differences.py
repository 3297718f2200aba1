"""Compares the scores of champion and challenger on the same rows, output by output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchdeploy.core.comparison import OutputDifference

if TYPE_CHECKING:
    import pandas as pd


def output_differences(
    champion: pd.DataFrame, challenger: pd.DataFrame, *, keys: tuple[str, ...], outputs: tuple[str, ...]
) -> tuple[OutputDifference, ...]:
    """The difference of each output over the rows that both frames have.

    Args:
        champion: the champion's scored rows, one per key.
        challenger: the challenger's.
        keys: the columns that identify a row.
        outputs: the columns to compare.
    """
    both = champion.merge(challenger, on=list(keys), suffixes=("_champion", "_challenger"))
    return tuple(_difference(both, name) for name in outputs)


def _difference(both: pd.DataFrame, name: str) -> OutputDifference:
    before, after = both[f"{name}_champion"], both[f"{name}_challenger"]
    same = (before == after) | (before.isna() & after.isna())
    shared = {"name": name, "changed_share": float(1 - same.mean()) if len(both) else 0.0}
    if before.dtype.kind not in "biuf" or not len(both):
        nothing = dict.fromkeys(("champion_mean", "challenger_mean", "mean_difference", "max_difference"))
        return OutputDifference(**shared, **nothing)  # type: ignore[arg-type]
    apart = (after.astype(float) - before.astype(float)).abs()
    return OutputDifference(
        **shared,  # type: ignore[arg-type]
        champion_mean=float(before.mean()),
        challenger_mean=float(after.mean()),
        mean_difference=float(apart.mean()),
        max_difference=float(apart.max()),
    )
