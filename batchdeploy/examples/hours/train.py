"""Trains a random forest on the first quarter of 2013, registers it, and writes its reference profile."""

from __future__ import annotations

import argparse
import json
import os
import warnings
from pathlib import Path

import mlflow
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

import batchdeploy as bd
from batchdeploy.examples.hours.prepare import FEATURES, NUMBERS

MODEL = "departure-delay"


def main() -> None:
    """Registers the model as champion; writes its version, its metrics and data/reference/hours.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="first", default="2013-01-07")
    parser.add_argument("--to", dest="last", default="2013-03-25")
    parser.add_argument("--trees", type=int, default=100)
    arguments = parser.parse_args()
    rows = training_rows(arguments.first, arguments.last)
    pipeline = build(arguments.trees)
    # Folds by week, because hours of a week share its weather. The reference uses these predictions.
    folds = GroupKFold(n_splits=4)
    rows["delay_minutes"] = cross_val_predict(
        pipeline, rows[FEATURES], rows["delay"], groups=rows["week"], cv=folds
    )
    metrics = {
        "mean_absolute_error": round(float(mean_absolute_error(rows["delay"], rows["delay_minutes"])), 3),
        "r2": round(float(r2_score(rows["delay"], rows["delay_minutes"])), 4),
        "rows": len(rows),
    }
    pipeline.fit(rows[FEATURES], rows["delay"])
    version = register(pipeline, rows[FEATURES])
    folder = Path("data/models")
    folder.mkdir(parents=True, exist_ok=True)
    pinned = {"name": MODEL, "alias": "champion", "version": version}
    (folder / "hours.json").write_text(json.dumps(pinned, indent=1) + "\n", encoding="utf-8")
    (folder / "hours.metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    bd.build_reference(
        rows,
        features=FEATURES,
        outputs=["delay_minutes"],
        partition="week",
        path="data/reference/hours.json",
        description=f"{len(rows)} hours of {rows['week'].nunique()} weeks, scored out of sample",
    )
    print(f"{MODEL} version {version}, out-of-fold mean absolute error {metrics['mean_absolute_error']}")


def training_rows(first: str, last: str) -> pd.DataFrame:
    """The hours of these weeks that had departures, with their features, week and outcome."""
    weeks = [f for f in sorted(Path("data/hours").iterdir()) if f"week={first}" <= f.name <= f"week={last}"]
    rows = pd.concat([pd.read_parquet(week / "part-0.parquet") for week in weeks], ignore_index=True)
    rows = rows.merge(pd.read_parquet("data/delays/hours.parquet"), on="hour_id")
    return rows[rows["delay"].notna()].reset_index(drop=True)


def build(trees: int) -> Pipeline:
    """A pipeline from raw feature columns to minutes."""
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["origin"]), (SimpleImputer(), NUMBERS)
    )
    forest = RandomForestRegressor(n_estimators=trees, min_samples_leaf=10, random_state=7, n_jobs=-1)
    return make_pipeline(columns, forest)


def register(pipeline: Pipeline, sample: pd.DataFrame) -> int:
    """Logs and registers the model under the alias champion; returns its version."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').resolve()}"
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient()
    if client.get_experiment_by_name(MODEL) is None:
        client.create_experiment(MODEL, artifact_location=Path("mlartifacts").resolve().as_uri())
    mlflow.set_experiment(MODEL)
    with mlflow.start_run(), warnings.catch_warnings():
        # MLflow warns that nulls would break integer columns; these columns have none.
        warnings.simplefilter("ignore")
        logged = mlflow.sklearn.log_model(
            pipeline,
            name="forest",
            signature=mlflow.models.infer_signature(sample, pipeline.predict(sample.head(5))),
            registered_model_name=MODEL,
            skops_trusted_types=["sklearn.tree._tree.Tree", "numpy.dtype"],
            pip_requirements=["scikit-learn", "skops", "pandas"],
        )
    version = int(logged.registered_model_version)
    client.set_registered_model_alias(MODEL, "champion", str(version))
    return version


if __name__ == "__main__":
    main()
