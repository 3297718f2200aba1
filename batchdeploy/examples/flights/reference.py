"""Writes the reference profile: January 2013, scored out of sample by a model like the champion."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import GroupKFold

import batchdeploy as bd
from batchdeploy.examples.flights.prepare import FEATURES
from batchdeploy.examples.flights.train import KINDS, build


def main() -> None:
    """Writes data/reference/flights.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="first", default="2013-01-01")
    parser.add_argument("--to", dest="last", default="2013-01-31")
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=0.08)
    parser.add_argument("--inverse-penalty", type=float, default=0.3)
    arguments = parser.parse_args()
    rows = _all_rows(arguments.first, arguments.last)
    rows["late_probability"] = _out_of_fold(rows, arguments)
    written = bd.build_reference(
        rows,
        features=FEATURES,
        outputs=["late_probability"],
        partition="date",
        path=Path("data/reference/flights.json"),
        description=f"{len(rows)} flights of {rows['date'].nunique()} days, scored out of sample",
    )
    print(written)


def _all_rows(first: str, last: str) -> pd.DataFrame:
    days = [p for p in sorted(Path("data/flights").iterdir()) if f"date={first}" <= p.name <= f"date={last}"]
    rows = pd.concat([pd.read_parquet(day / "part-0.parquet") for day in days], ignore_index=True)
    return rows.merge(pd.read_parquet("data/labels/flights.parquet"), on="flight_id")


def _out_of_fold(rows: pd.DataFrame, settings: argparse.Namespace) -> pd.Series[float]:
    """Each flight's probability from a model trained without its day; includes cancelled flights."""
    scores = np.zeros(len(rows))
    pipeline = build(KINDS["champion"], settings)
    arrived = rows["late"].notna().to_numpy()
    for seen, held_out in GroupKFold(n_splits=5).split(rows, groups=rows["date"]):
        fit = seen[arrived[seen]]
        model = clone(pipeline).fit(rows.iloc[fit][FEATURES], rows.iloc[fit]["late"].to_numpy(dtype=bool))
        scores[held_out] = model.predict_proba(rows.iloc[held_out][FEATURES])[:, 1]
    return pd.Series(scores, index=rows.index)


if __name__ == "__main__":
    main()
