"""Scores some days and compares the scores with the outcomes: a list of runs, metrics, a plot."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd
from sklearn.metrics import brier_score_loss, roc_auc_score

import batchdeploy as bd


def main() -> None:
    """Writes week.json (the runs), week.metrics.json and week.days.csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("deployment")
    parser.add_argument("--from", dest="first", required=True)
    parser.add_argument("--to", dest="last", required=True)
    parser.add_argument("--labels", type=Path, default=Path("data/labels/flights.parquet"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with bd.load(arguments.deployment) as job:
        runs = job.backfill(arguments.first, arguments.last, done=lambda run: print(run.manifest.partition))
    arguments.out.mkdir(parents=True, exist_ok=True)
    listed = [
        {
            "partition": run.manifest.partition,
            "run_id": run.manifest.run_id,
            "model_version": run.manifest.model_version,
            "rows": run.manifest.rows_scored,
            "keys": run.manifest.keys,
            "drift": run.manifest.drift,
        }
        for run in runs
    ]
    (arguments.out / "week.json").write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
    days = pd.DataFrame([_day(run, pd.read_parquet(arguments.labels)) for run in runs])
    days.to_csv(arguments.out / "week.days.csv", index=False)
    metrics = {
        "rows": int(days["rows"].sum()),
        "auc": round(float(days["auc"].mean()), 5),
        "brier": round(float(days["brier"].mean()), 5),
        "days_with_drift": int(days["drift"].isin(["warning", "critical", "drift"]).sum()),
    }
    (arguments.out / "week.metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")


def _day(run: bd.Run, labels: pd.DataFrame) -> dict[str, object]:
    """One day's scores against its outcomes; flights that never arrived have none."""
    joined = run.scores.merge(labels, on="flight_id").dropna(subset=["late"])
    late, scores = joined["late"].astype(bool), joined["late_probability"]
    return {
        "date": run.manifest.partition,
        "rows": run.manifest.rows_scored,
        "auc": round(roc_auc_score(late, scores), 5),
        "brier": round(brier_score_loss(late, scores), 5),
        "drift": run.manifest.drift,
    }


if __name__ == "__main__":
    main()
