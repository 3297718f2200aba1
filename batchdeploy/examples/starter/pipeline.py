"""Creates the data, trains the model and registers it: replace this part of the project by your own.

The data are 442 patients from a dataset of scikit-learn: ten measurements, and the progression of their
diabetes a year later. The dates are invented: about twenty patients a day, so that there is a schedule.
"""

from pathlib import Path

import mlflow
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import batchdeploy as bd

MODEL = "progression"
TRAINING_DAYS = 10

patients = load_diabetes(as_frame=True, scaled=False).frame.rename(columns={"target": "outcome"})
features = [name for name in patients.columns if name != "outcome"]
patients[features] = patients[features].astype("float64")
patients["patient_id"] = [f"P{number:04d}" for number in range(len(patients))]
days = pd.date_range("2024-01-01", periods=21).strftime("%Y-%m-%d")
patients["date"] = [days[number % len(days)] for number in range(len(patients))]

for day, rows in patients.groupby("date"):
    folder = Path("data/patients", f"date={day}")
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pandas(rows[["patient_id", *features]], preserve_index=False)
    pq.write_table(table.replace_schema_metadata(None), folder / "part-0.parquet")

known = patients[patients["date"] <= days[TRAINING_DAYS - 1]].reset_index(drop=True)
model = make_pipeline(StandardScaler(), Ridge())
known["progression"] = cross_val_predict(model, known[features], known["outcome"], cv=5)
model.fit(known[features], known["outcome"])

mlflow.set_tracking_uri(f"sqlite:///{Path('mlflow.db').resolve()}")
client = mlflow.MlflowClient()
if client.get_experiment_by_name(MODEL) is None:
    client.create_experiment(MODEL, artifact_location=Path("mlartifacts").resolve().as_uri())
mlflow.set_experiment(MODEL)
with mlflow.start_run():
    logged = mlflow.sklearn.log_model(
        model,
        name=MODEL,
        registered_model_name=MODEL,
        signature=mlflow.models.infer_signature(known[features], model.predict(known[features])),
        pip_requirements=["scikit-learn", "skops", "pandas"],
        skops_trusted_types=["numpy.dtype"],
    )
client.set_registered_model_alias(MODEL, "champion", str(logged.registered_model_version))

bd.build_reference(
    known,
    features=features,
    outputs=["progression"],
    partition="date",
    path="data/reference/progression.json",
    description=f"the first {TRAINING_DAYS} days, scored out of sample",
)
