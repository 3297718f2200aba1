"""The small project that the tests copy: customers, a classifier with preprocessing inside, a reference."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from batchdeploy.core.deployment import DataRef, Deployment, ModelRef, OutputRef, PartitionSpec
from batchdeploy.core.records import DataPin, InputSchema, ModelPin, Plan

ROWS = 200
# Settings of Spark in tests.
SPARKS = ("local", "standalone", "connect")
FEATURES = ["age", "income", "visits", "member", "city"]
SCHEMA = pa.schema(
    [
        pa.field("customer_id", pa.string()),
        pa.field("age", pa.float64()),
        pa.field("income", pa.float64()),
        pa.field("visits", pa.int64()),
        pa.field("member", pa.bool_()),
        pa.field("city", pa.string()),
    ]
)


def edit(before: str, after: str) -> Callable[[Path], None]:
    """A change of the small project's deployment file, for a case of a test."""

    def change(root: Path) -> None:
        file = root / "dags" / "churn.yaml"
        text = file.read_text(encoding="utf-8")
        assert before in text
        file.write_text(text.replace(before, after), encoding="utf-8")

    return change


def customers(day: str, rows: int = ROWS) -> pd.DataFrame:
    """One day's customers; the same for the same day."""
    random = np.random.default_rng(int(hashlib.sha256(day.encode()).hexdigest()[:8], 16))
    income = random.lognormal(10, 0.4, rows)
    income[random.random(rows) < 0.1] = np.nan
    member = random.random(rows) < 0.5
    return pd.DataFrame(
        {
            "customer_id": [f"{day}-{number:04d}" for number in range(rows)],
            "age": random.uniform(18, 90, rows),
            "income": income,
            "visits": random.poisson(4, rows),
            "member": pd.array(np.where(random.random(rows) < 0.1, None, member), dtype="boolean"),
            "city": random.choice(["Bern", "Genève", "Zürich"], rows),
        }
    )


def write_day(folder: Path, day: str, frame: pd.DataFrame, schema: pa.Schema = SCHEMA) -> Path:
    """Writes one partition, whatever was in it."""
    file = folder / f"date={day}" / "part-0.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    texts = {field.name: text_array(frame[field.name]) for field in schema if pa.types.is_string(field.type)}
    columns = frame.assign(**dict.fromkeys(texts))
    table = pa.Table.from_pandas(columns, schema=schema, preserve_index=False)
    for name, values in texts.items():
        table = table.set_column(schema.get_field_index(name), schema.field(name), values)
    pq.write_table(table, file)
    return file


def text_array(values: Iterable[Any]) -> pa.Array:
    """Texts as Arrow; a lone surrogate stands for a byte that is not UTF-8, which Arrow does not mind."""
    raw = [v.encode("utf-8", "surrogateescape") if isinstance(v, str) else None for v in values]
    return pa.array(raw, pa.binary()).view(pa.string())


def write_encrypted(table: pa.Table, file: Path, **options: Any) -> None:
    """Writes a file of Parquet's modular encryption; ``options`` say what of it is encrypted."""
    import pyarrow.parquet.encryption as encryption

    class Keys(encryption.KmsClient):  # type: ignore[misc]
        """Wraps keys by leaving them as they are."""

        def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
            return base64.b64encode(key_bytes)

    factory = encryption.CryptoFactory(lambda _: Keys())
    configuration = encryption.EncryptionConfiguration(footer_key="footer", **options)
    secrets = factory.file_encryption_properties(encryption.KmsConnectionConfig(), configuration)
    with pq.ParquetWriter(file, table.schema, encryption_properties=secrets) as writer:
        writer.write_table(table)


def build_project(root: Path, days: tuple[str, ...]) -> None:
    """Data, registry (champion is version 1, challenger version 2) and reference."""
    import batchdeploy as bd

    frames = [customers(day).assign(date=day) for day in days]
    for day, frame in zip(days, frames, strict=True):
        write_day(root / "data" / "customers", day, frame)
    known = pd.concat(frames, ignore_index=True)
    late = (known["age"] + 3 * known["visits"] + np.arange(len(known)) % 17 > 70).to_numpy()
    champion, challenger = classifiers()
    for alias, model in (("champion", champion), ("challenger", challenger)):
        register(root, model.fit(known[FEATURES], late), known[FEATURES], alias=alias)
    # A reference needs more days than are scored: some earlier ones, which nobody publishes.
    earlier = [customers(day).assign(date=day) for day in (f"2024-02-{n:02d}" for n in range(1, 11))]
    ordinary = pd.concat([*earlier, *frames], ignore_index=True)
    ordinary["churn_probability"] = champion.predict_proba(ordinary[FEATURES])[:, 1]
    bd.build_reference(
        ordinary,
        features=FEATURES,
        outputs=["churn_probability"],
        partition="date",
        path=root / "data" / "reference" / "churn.json",
    )


def classifiers() -> tuple[Any, Any]:
    """Two pipelines of different kinds that take missing numbers and text."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    def prepared() -> Any:
        return make_column_transformer(
            (make_pipeline(SimpleImputer(), StandardScaler()), ["age", "income", "visits"]),
            (OneHotEncoder(handle_unknown="ignore"), ["member", "city"]),
        )

    return (
        make_pipeline(prepared(), LogisticRegression()),
        make_pipeline(prepared(), DecisionTreeClassifier(max_depth=4, random_state=1)),
    )


def save_model(model: Any, folder: Path, inputs: pd.DataFrame, answer: Any, *, method: str) -> Path:
    """Writes a fitted model with scikit-learn's methods as MLflow lays it out; gives the folder."""
    import mlflow

    mlflow.sklearn.save_model(
        model,
        folder,
        signature=mlflow.models.infer_signature(inputs, answer),
        pyfunc_predict_fn=method,
        pip_requirements=["scikit-learn"],
        serialization_format="cloudpickle",
    )
    return folder


def save_coded(folder: Path, sources: dict[str, str], **words: Any) -> Path:
    """A model that its own modules load, ``entry`` before all others, as MLflow lays it out."""
    import mlflow

    for name, text in sources.items():
        file = folder / "sources" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(
            folder / "saved",
            loader_module="entry",
            code_paths=[str(entry) for entry in sorted((folder / "sources").iterdir())],
            pip_requirements=["pandas"],
            **words,
        )
    return folder / "saved"


ENTRY = """\
import features

class Model:
    def predict(self, frame):
        return (frame[['age']] * features.FACTOR).set_axis(['y'], axis=1)

def _load_pyfunc(path):
    return Model()
"""


def register_coded(root: Path, factor: int, entry: str = ENTRY) -> int:
    """A version of the project's model that answers ``age`` times a factor that its own module holds.

    Args:
        root: the project.
        factor: names the version's sources, too.
        entry: another text of the module that loads it.
    """
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    signature = ModelSignature(Schema([ColSpec("double", "age")]), Schema([ColSpec("double", "y")]))
    sources = {"entry.py": entry, "features.py": f"FACTOR = {factor}.0\n"}
    folder = save_coded(root / "coded" / str(factor), sources, signature=signature)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{root / 'mlflow.db'}")
    version = int(client.create_model_version("churn", folder.as_uri()).version)
    client.set_registered_model_alias("churn", "champion", str(version))
    return version


TALK = ("loading", "asking", "C is asking", "warning")


def talking(root: Path) -> Path:
    """The project with a model that prints in every way, also at exit; returns the deployment."""
    entry = ENTRY.replace(
        "return Model()",
        "print('loading'); atexit.register(print, 'at the end'); return Model()",
    ).replace(
        "        return (",
        "        print('asking'); ctypes.CDLL(None).puts(b'C is asking')\n"
        "        print('warning', file=sys.stderr); return (",
    )
    register_coded(root, 1, f"import atexit, ctypes, sys\n{entry}")
    edit("churn_probability: {type: double, select: 1}", "y: double")(root)
    edit("drift: {reference: data/reference/churn.json}\n", "")(root)
    return root / "dags" / "churn.yaml"


def register(
    root: Path, model: Any, sample: pd.DataFrame, *, alias: str, name: str = "churn", signed: bool = True
) -> int:
    """Registers a fitted model in the project's own MLflow and returns the version."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    mlflow.set_tracking_uri(f"sqlite:///{root / 'mlflow.db'}")
    client = mlflow.MlflowClient()
    if client.get_experiment_by_name(name) is None:
        client.create_experiment(name, artifact_location=(root / "mlartifacts").as_uri())
    mlflow.set_experiment(name)
    types = {"age": "double", "income": "double", "visits": "long", "member": "boolean", "city": "string"}
    inputs = Schema([ColSpec(types[c], c, required=c != "member") for c in sample.columns])
    signature = ModelSignature(inputs, Schema([TensorSpec(np.dtype("float64"), (-1, 2))]))
    with mlflow.start_run():
        logged = mlflow.sklearn.log_model(
            model,
            name="model",
            registered_model_name=name,
            signature=signature if signed else False,
            pyfunc_predict_fn="predict_proba",
            pip_requirements=["scikit-learn"],
            skops_trusted_types=[
                "numpy.dtype",
                "sklearn.tree._tree.Tree",
                "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
            ],
        )
    version = int(logged.registered_model_version)
    client.set_registered_model_alias(name, alias, str(version))
    # NOTE: set_tracking_uri also sets MLFLOW_TRACKING_URI, which a deployment without a registry follows.
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    return version


def register_folder(
    root: Path, folder: Path, *, alias: str = "champion", name: str = "churn", digest: str | None = None
) -> int:
    """Registers a folder as it is as the next version, as anybody may who can write to a registry."""
    import mlflow

    uri = f"sqlite:///{root / 'mlflow.db'}"
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    tags = None if digest is None else {"batchdeploy.digest": digest}
    version = int(client.create_model_version(name, source=folder.as_uri(), tags=tags).version)
    client.set_registered_model_alias(name, alias, str(version))
    return version


def move_alias(root: Path, alias: str, version: int, name: str = "churn") -> None:
    """Points an alias at another version."""
    import mlflow

    uri = f"sqlite:///{root / 'mlflow.db'}"
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.set_registered_model_alias(name, alias, str(version))


FOLDER = "date=2024-01-01"
RUNS = {name: name * 16 for name in "abcdef"}


def plan(run: str, base_run: str | None) -> Plan:
    """A plan with made-up pins, for code that uses only run ids."""
    return Plan(
        run_id=RUNS[run],
        deployment=Deployment(
            name="d",
            model=ModelRef(name="m"),
            data=DataRef(path="data", partition=PartitionSpec(column="date"), keys=("id",)),
            output=OutputRef(path="scores", columns={"y": "double"}),
        ),
        partition="2024-01-01",
        model=ModelPin(
            name="m", version=1, model_id="x", digest="d", alias=None, inputs=(), outputs=(), returns="array"
        ),
        data=DataPin(path="data", rev=None, tracked="plain", digest="x", files=()),
        schema=InputSchema(columns=(), file_rows=(10,)),
        suite=None,
        reference=None,
        base_run=RUNS[base_run] if base_run else None,
        changes=(),
        planned_at="2024-01-01T00:00:00+00:00",
    )


class Result:
    """The result of a command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def tree(root: Path, *, without: Sequence[Path] = ()) -> dict[str, str]:
    """Every file and folder; SQLite's own side files come and go with any reader."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if not name.startswith("mlflow.db-") and path not in without:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return found


def copy_project(template: Path, root: Path) -> Path:
    """Copies the small project; the models' files stay in the template."""
    shutil.copytree(template, root, ignore=shutil.ignore_patterns("mlartifacts"))
    return root


def published_scores(root: Path, folder: str = "date=2024-03-02") -> pd.DataFrame:
    """A partition's published rows in the order of their keys, without what differs from run to run."""
    frame = pq.read_table(root / "scores" / "churn" / folder, partitioning=None).to_pandas()
    return frame.drop(columns=["_run_id", "_scored_at"]).sort_values("customer_id", ignore_index=True)
