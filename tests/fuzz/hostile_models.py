"""Models from a registry that somebody else writes to, and files beside them that run code when loaded."""

from __future__ import annotations

import os
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from fuzz.hostile import mangled, mutated

NAME = "hostile"
FRAME = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 0.0, 1.0, 0.0]})


class Canary:
    """Unpickled, it leaves a file: the proof that somebody's code ran."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


def register(home: Path) -> tuple[str, Path]:
    """A registry with one version of one model; gives its URI and the folder of the version's files."""
    import mlflow

    uri = f"sqlite:///{home / 'mlflow.db'}"
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    place = home / "registered"
    place.mkdir()
    client.create_registered_model(NAME)
    client.create_model_version(NAME, source=place.as_uri(), run_id=None)
    return uri, place


def bases(home: Path) -> dict[str, Path]:
    """A folder with a real model of each kind that holds data only, and one that is a pickle."""
    import lightgbm
    import mlflow
    import skl2onnx
    import xgboost
    from sklearn.linear_model import LogisticRegression
    from sklearn.tree import DecisionTreeClassifier

    labels = np.array([0, 1, 0, 1])
    linear, tree = LogisticRegression().fit(FRAME, labels), DecisionTreeClassifier().fit(FRAME, labels)
    signature = mlflow.models.infer_signature(FRAME, labels.astype(float))
    given: dict[str, Any] = {"signature": signature, "pip_requirements": ["scikit-learn"]}
    trusted = ["sklearn.tree._tree.Tree", "numpy.dtype"]
    graph = skl2onnx.convert_sklearn(
        linear, initial_types=[("X", skl2onnx.common.data_types.FloatTensorType([None, 2]))]
    )
    data = lightgbm.Dataset(FRAME, labels, params={"verbose": -1, "min_data_in_leaf": 1})
    booster = lightgbm.train({"verbose": -1, "min_data_in_leaf": 1}, data, 2)
    boosted = xgboost.train({}, xgboost.DMatrix(FRAME, labels), 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(linear, home / "linear", serialization_format="skops", **given)
        mlflow.sklearn.save_model(
            tree, home / "tree", serialization_format="skops", skops_trusted_types=trusted, **given
        )
        mlflow.sklearn.save_model(linear, home / "pickle", serialization_format="cloudpickle", **given)
        mlflow.onnx.save_model(graph, home / "onnx", **given)
        mlflow.lightgbm.save_model(booster, home / "lightgbm", **given)
        mlflow.xgboost.save_model(boosted, home / "xgboost", **given)
    return {folder.name: folder for folder in home.iterdir() if folder.is_dir()}


def lay_traps(folder: Path, canary: Path, description: bytes) -> None:
    """Beside a model's own files: pickles and modules that leave the canary when they are loaded."""
    for name in ("evil.pkl", "evil.skops", "evil.lgb", "evil.bin"):
        # Every .skops file of a model is checked, so this one would make every model refused.
        if name != "evil.skops" or name.encode() in description:
            (folder / name).write_bytes(pickle.dumps(Canary(canary)))
    code = folder / "code"
    code.mkdir(exist_ok=True)
    text = f"import os\nos.mkdir({str(canary)!r})\n"
    for name in ("evil.py", "lightgbm_evil.py"):
        (code / name).write_text(text)


SUBSTITUTES = [
    "evil.pkl",
    "evil.skops",
    "evil.lgb",
    "evil.bin",
    "code",
    "code/evil.py",
    ".",
    "..",
    "MLmodel",
    "model.skops",
    "evil",
    "mlflow.pyfunc.model",
    "mlflow.sklearn",
    "mlflow.pyfunc.loaders.code_model",
    "mlflow.pytorch",
    "mlflow.lightgbm",
    "mlflow.xgboost",
    "mlflow.onnx",
    "mlflow.catboost",
    "cloudpickle",
    "pickle",
    "skops",
    "lightgbm.basic.Booster",
    "lightgbm.basic.BoosterX",
    "lightgbm.sklearn.LGBMClassifier",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
    "os.system",
    "builtins.eval",
    "evil.Evil",
    "predict_proba",
    "__class__",
]
KEYS = [
    "code",
    "loader_module",
    "data",
    "model_path",
    "pickled_model",
    "model_class",
    "serialization_format",
    "env",
    "python_model",
    "model_code_path",
    "predict_fn",
    "skops_trusted_types",
    "onnx_session_options",
    "providers",
]


@st.composite
def _aimed(draw: st.DrawFn, documents: st.SearchStrategy[Any]) -> Any:
    """A description whose flavors name other files, loaders and classes."""
    document = draw(documents)
    flavors = {name: dict(flavor) for name, flavor in document["flavors"].items()}
    for _ in range(draw(st.integers(1, 3))):
        flavor = flavors[draw(st.sampled_from(sorted(flavors)))]
        flavor[draw(st.sampled_from([*KEYS, *flavor]))] = draw(st.sampled_from(SUBSTITUTES))
    return {**document, "flavors": flavors}


def cases(models: dict[str, Path]) -> st.SearchStrategy[tuple[str, dict[str, bytes]]]:
    """The kind of model, and what is written over its files."""
    import json

    reader = YAML(typ="safe")
    described = {name: reader.load((folder / "MLmodel").read_text()) for name, folder in models.items()}

    def one(name: str) -> st.SearchStrategy[tuple[str, dict[str, bytes]]]:
        document = st.just(json.loads(json.dumps(described[name], default=str)))
        text = (models[name] / "MLmodel").read_bytes()
        inside = (_aimed(document) | _aimed(document) | mutated(document)).map(
            lambda d: json.dumps(d).encode()
        )
        outside = mangled(st.just(text))
        weights = sorted(
            f.name for f in models[name].iterdir() if f.suffix in (".skops", ".onnx", ".lgb", ".xgb", ".ubj")
        )
        files = st.dictionaries(
            st.sampled_from([*weights, "requirements.txt", "registered_model_meta", "conda.yaml"]),
            st.binary(max_size=40),
            max_size=1,
        )
        return st.tuples(st.just(name), inside | inside | outside, files).map(
            lambda case: (case[0], {"MLmodel": case[1], **case[2]})
        )

    return st.sampled_from(sorted(models)).flatmap(one)


def place_model(source: Path, place: Path, files: dict[str, bytes], canary: Path) -> None:
    """Fills the folder of a registered version with a model, the traps and what is written over it."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(source, place)
    lay_traps(place, canary, files["MLmodel"])
    for name, content in files.items():
        (place / name).write_bytes(content)
