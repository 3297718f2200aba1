"""Trains the champion or the challenger on January 2013, registers it in MLflow and sets its alias."""

from __future__ import annotations

import argparse
import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from sklearn.model_selection import GroupKFold, KFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler, TargetEncoder

from batchdeploy.examples.flights.prepare import CATEGORICAL, FEATURES

MODEL = "flights-delay"
KINDS = {"champion": "boosting", "challenger": "logistic"}
TRUSTED = [
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.model_selection._split.KFold",
    "numpy.dtype",
]


def main() -> None:
    """Trains, registers, and writes metrics, a calibration plot and the registered version."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("alias", choices=sorted(KINDS))
    parser.add_argument("--from", dest="first", default="2013-01-01")
    parser.add_argument("--to", dest="last", default="2013-01-31")
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=0.08)
    parser.add_argument("--inverse-penalty", type=float, default=0.3)
    parser.add_argument("--out", type=Path, default=Path("data/models"))
    arguments = parser.parse_args()
    pipeline = build(KINDS[arguments.alias], arguments)
    rows = training_rows(arguments.first, arguments.last)
    late = rows["late"].to_numpy(dtype=bool)
    held_out = out_of_fold(pipeline, rows, late)
    metrics = {
        "auc": roc_auc_score(late, held_out),
        "brier": brier_score_loss(late, held_out),
        "log_loss": log_loss(late, held_out),
        "rows": len(rows),
    }
    pipeline.fit(rows[FEATURES], late)
    registered = register(pipeline, rows[FEATURES], arguments.alias, metrics)
    arguments.out.mkdir(parents=True, exist_ok=True)
    _write(arguments.out / f"{arguments.alias}.json", registered)
    _write(arguments.out / f"{arguments.alias}.metrics.json", {k: round(v, 5) for k, v in metrics.items()})
    calibration(late, held_out).to_csv(arguments.out / f"{arguments.alias}.calibration.csv", index=False)
    print(f"{arguments.alias}: {MODEL} version {registered['version']}, out-of-fold AUC {metrics['auc']:.3f}")


def training_rows(first: str, last: str) -> pd.DataFrame:
    """The flights of these days that arrived, with their features, day and outcome."""
    days = [p for p in sorted(Path("data/flights").iterdir()) if f"date={first}" <= p.name <= f"date={last}"]
    rows = pd.concat([pd.read_parquet(day / "part-0.parquet") for day in days], ignore_index=True)
    rows = rows.merge(pd.read_parquet("data/labels/flights.parquet"), on="flight_id")
    return rows[rows["late"].notna()].reset_index(drop=True)


def build(kind: str, settings: argparse.Namespace) -> Pipeline:
    """A pipeline from raw feature columns to a probability; its preprocessing is part of the model."""
    if kind == "boosting":
        columns = make_column_transformer(
            (TargetEncoder(cv=KFold(5, shuffle=True, random_state=7)), CATEGORICAL),
            remainder="passthrough",
            verbose_feature_names_out=False,
        )
        model: Any = HistGradientBoostingClassifier(
            max_iter=settings.iterations,
            learning_rate=settings.learning_rate,
            min_samples_leaf=50,
            random_state=7,
        )
    else:
        numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
        columns = make_column_transformer(
            (OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=30), CATEGORICAL),
            remainder=numbers,
        )
        model = LogisticRegression(C=settings.inverse_penalty, max_iter=2_000)
    return make_pipeline(columns, model)


def out_of_fold(pipeline: Pipeline, rows: pd.DataFrame, late: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Each row's probability from a model trained without rows of its day, which share its weather."""
    folds = GroupKFold(n_splits=5)
    answer = cross_val_predict(
        pipeline, rows[FEATURES], late, groups=rows["date"], cv=folds, method="predict_proba"
    )
    probability: np.ndarray[Any, Any] = answer[:, 1]
    return probability


def register(
    pipeline: Pipeline, sample: pd.DataFrame, alias: str, metrics: dict[str, float]
) -> dict[str, str | int]:
    """Logs and registers the model with its signature, digest and alias; returns its pin."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    from batchdeploy.adapters.mlflow import DIGEST_TAG, digest_folder

    mlflow.set_tracking_uri(
        os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').resolve()}"
    )
    client = mlflow.MlflowClient()
    if client.get_experiment_by_name(MODEL) is None:
        client.create_experiment(MODEL, artifact_location=Path("mlartifacts").resolve().as_uri())
    mlflow.set_experiment(MODEL)
    with mlflow.start_run(run_name=alias), warnings.catch_warnings():
        # MLflow warns that nulls would break integer columns; these columns have none.
        warnings.simplefilter("ignore")
        mlflow.log_metrics(metrics)
        signature = mlflow.models.infer_signature(sample, pipeline.predict_proba(sample.head(5)))
        logged = mlflow.sklearn.log_model(
            pipeline,
            name=alias,
            signature=signature,
            registered_model_name=MODEL,
            pyfunc_predict_fn="predict_proba",
            serialization_format="skops",
            skops_trusted_types=TRUSTED,
            pip_requirements=["scikit-learn", "skops", "pandas"],
        )
    version = str(logged.registered_model_version)
    digest = digest_folder(Path(mlflow.artifacts.download_artifacts(f"models:/{MODEL}/{version}")))
    client.set_model_version_tag(MODEL, version, DIGEST_TAG, digest)
    client.set_registered_model_alias(MODEL, alias, version)
    return {"name": MODEL, "alias": alias, "version": int(version), "digest": digest}


def calibration(late: np.ndarray[Any, Any], probability: np.ndarray[Any, Any]) -> pd.DataFrame:
    """Predicted and observed share of late flights in ten bins of equal size."""
    bins = pd.qcut(probability, 10, labels=False, duplicates="drop")
    table = pd.DataFrame({"bin": bins, "predicted": probability, "observed": late.astype(float)})
    return table.groupby("bin", as_index=False).mean().round(5)


def _write(file: Path, values: dict[str, Any]) -> None:
    file.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
