"""The workloads of the benchmarks: data, a registered model and a deployment, created once and kept."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

REPOSITORY = Path(__file__).parents[1]
DAY, SMALL_DAY = "2024-01-01", "2024-01-02"
SMALL = 2_000
FILE_ROWS, SMALL_FILES = 250_000, 4


@dataclass(frozen=True)
class Workload:
    """One workload.

    Attributes:
        summary: a description of two words.
        rows: the rows of the large partition; a small one is for warming up.
        frame: returns the features of a number of rows for a seed, with the key first.
        train: fits a model to features and label.
    """

    name: str
    summary: str
    rows: int
    frame: Callable[[int, int], pd.DataFrame]
    train: Callable[[pd.DataFrame, Any], Any]


def _doubles(rows: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(random.normal(size=(rows, 20)), columns=[f"x{i}" for i in range(20)])
    frame.insert(0, "id", np.arange(rows, dtype="int64") + seed * 1_000_000_000)
    return frame


def _boosting(features: pd.DataFrame, label: Any) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=0).fit(
        features, label
    )


def _linear(features: pd.DataFrame, label: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(features, label)


def _flights(rows: int, seed: int) -> pd.DataFrame:
    """The flights of January 2013, repeated; needs the data that `dvc repro` prepares."""
    known = pd.concat(
        [
            pd.read_parquet(f)
            for f in sorted((REPOSITORY / "data" / "flights").glob("date=2013-01-*/*.parquet"))
        ],
        ignore_index=True,
    )
    from batchdeploy.examples.flights.train import FEATURES

    random = np.random.default_rng(seed)
    frame = known.iloc[random.integers(0, len(known), rows)].reset_index(drop=True)
    frame["flight_id"] = np.char.add("f", (np.arange(rows) + seed * 1_000_000_000).astype(str))
    return frame.rename(columns={"flight_id": "id"})[["id", *FEATURES]]


def _pipeline(features: pd.DataFrame, label: Any) -> Any:
    """The pipeline of the flights example: target encoding of six text columns, then boosting."""
    from argparse import Namespace

    from batchdeploy.examples.flights.train import build

    return build("boosting", Namespace(iterations=100, learning_rate=0.08)).fit(features, label)


WORKLOADS = {
    "A": Workload("A", "boosted trees", 2_000_000, _doubles, _boosting),
    "B": Workload("B", "text and trees", 5_000_000, _flights, _pipeline),
    "C": Workload("C", "a linear model", 10_000_000, _doubles, _linear),
}

TRUSTED = [
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.model_selection._split.KFold",
    "numpy.dtype",
]
DEPLOYMENT = """\
name: speed
owner: benchmarks
model: {{name: speed, alias: champion, registry: "sqlite:///mlflow.db"}}
data:
  path: data/rows
  partition: {{column: date}}
  keys: [id]
expectations: expectations.json
output:
  path: scores/{engine}
  columns: {{score: {{type: double, select: 1}}}}
drift: {{reference: data/reference.json}}
engine: {{kind: {engine}, master: "local[{cores}]"}}
"""
# What differs from Spark's deployment, by name.
VARIANTS = {
    "compiled": ("alias: champion", "alias: champion, runtime: compiled"),
    "reads": ("kind: spark", "kind: spark, read: spark"),
}


def make(workload: Workload, home: Path, *, rows: int, cores: int) -> Path:
    """Creates the workload's project, unless it exists, and returns its folder."""
    root = home / f"{workload.name}-{rows}-{cores}"
    if (root / "done").exists():
        _write_deployments(root, cores)
        return root
    shutil.rmtree(root, ignore_errors=True)
    for day, count, seed in ((DAY, rows, 1), (SMALL_DAY, SMALL, 2)):
        folder = root / "data" / "rows" / f"date={day}"
        folder.mkdir(parents=True)
        # Several small files, so that every worker of every contender is warm.
        size = FILE_ROWS if count > SMALL else SMALL // SMALL_FILES
        for number, part in enumerate(_parts(workload, count, size, seed)):
            pq.write_table(
                pa.Table.from_pandas(part, preserve_index=False), folder / f"part-{number:05d}.parquet"
            )
    _register(workload, root)
    (root / "dvc.yaml").write_text("stages: {}\n")
    _write_deployments(root, cores)
    suite = {"name": "rows", "expectations": []}
    numbers = workload.frame(10, 0).drop(columns=["id"]).select_dtypes("number")
    for column in list(numbers)[:2]:
        bounds = {"column": column, "min_value": -1e6, "max_value": 1e6}
        suite["expectations"].append(  # type: ignore[attr-defined]
            {"type": "expect_column_values_to_be_between", "kwargs": bounds, "meta": {"level": "block"}}
        )
    (root / "expectations.json").write_text(json.dumps(suite))
    (root / "done").touch()
    return root


def _write_deployments(root: Path, cores: int) -> None:
    (root / "dags").mkdir(exist_ok=True)
    for engine in ("spark", "local"):
        text = DEPLOYMENT.format(engine=engine, cores=cores)
        (root / "dags" / f"{engine}.yaml").write_text(text)
    for name, (usual, other) in VARIANTS.items():
        text = DEPLOYMENT.format(engine="spark", cores=cores).replace("scores/spark", f"scores/{name}")
        (root / "dags" / f"{name}.yaml").write_text(text.replace(usual, other))


def _parts(workload: Workload, rows: int, size: int, seed: int) -> Iterator[pd.DataFrame]:
    for number, start in enumerate(range(0, rows, size)):
        yield workload.frame(min(size, rows - start), seed * 1000 + number)


def _register(workload: Workload, root: Path) -> None:
    import mlflow
    from mlflow.models import infer_signature

    import batchdeploy as bd

    known = workload.frame(20_000, 7)
    features = known.drop(columns=["id"])
    numbers = features.select_dtypes("number").fillna(0.0)
    # Half of the rows belong to each class, independent of the features' units.
    spread = (numbers - numbers.mean()) / numbers.std().replace(0, 1)
    noise = np.random.default_rng(0).normal(size=len(numbers))
    label = (spread.sum(axis=1) + noise > 0).to_numpy()
    model = workload.train(features, label)
    mlflow.set_tracking_uri(f"sqlite:///{root / 'mlflow.db'}")
    client = mlflow.MlflowClient()
    client.create_experiment("speed", artifact_location=(root / "mlartifacts").as_uri())
    mlflow.set_experiment("speed")
    with mlflow.start_run():
        logged = mlflow.sklearn.log_model(
            model,
            name="model",
            registered_model_name="speed",
            signature=infer_signature(features, model.predict_proba(features)),
            pyfunc_predict_fn="predict_proba",
            pip_requirements=["scikit-learn"],
            skops_trusted_types=TRUSTED,
        )
    client.set_registered_model_alias("speed", "champion", str(logged.registered_model_version))
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    days = np.repeat([f"2023-12-{day:02d}" for day in range(1, 21)], 1000)
    bd.build_reference(
        known.assign(score=model.predict_proba(features)[:, 1], date=days),
        features=list(features),
        outputs=["score"],
        partition="date",
        path=root / "data" / "reference.json",
    )
