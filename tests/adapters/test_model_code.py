"""Hostile descriptions of models, held against what MLflow's own loaders do with them."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from tests_support import Result, edit, register_folder

from batchdeploy.adapters.mlflow import MlflowRegistry, find_graph, load_predictor
from batchdeploy.core.deployment import ModelRef
from batchdeploy.core.model_safety import code_in_model
from batchdeploy.errors import RequestError, ScoringRefused

pytestmark = pytest.mark.filterwarnings("ignore")
LIGHTGBM, XGBOOST = "lightgbm.basic.Booster", "xgboost.core.Booster"
CLASSES = (
    LIGHTGBM, f"{LIGHTGBM}X", f"{LIGHTGBM} ", "lightgbm.basic.Booster.x", "lightgbm.sklearn.LGBMClassifier",
    XGBOOST, "xgboost.core.ctypes.CDLL", "xgboost.sklearn.XGBClassifier", "xgboost.sklearn.cast", "os.getcwd",
    "planted.run", None, [LIGHTGBM],
)  # fmt: skip
FORMATS = ("skops", "pickle", "cloudpickle", "SKOPS", None, ["skops"])
FILES = (
    "model.lgb",
    "model.ubj",
    "model.skops",
    "model.onnx",
    "model.cb",
    "model.pkl",
    "registered_model_meta",
)
LEAVE_OUT = object()


class Loud:
    """Leaves a mark when its pickle is loaded."""

    def __init__(self, mark: Path) -> None:
        self._mark = str(mark)

    def __reduce__(self) -> Any:
        return open, (self._mark, "w")


def descriptions() -> Iterator[dict[str, Any]]:
    """Every loader that might be taken for one of data, with every class, format and file."""
    loaders = ("mlflow.sklearn", "mlflow.lightgbm", "mlflow.xgboost", "mlflow.onnx", "mlflow.sklearn ")
    for loader, kind, serialised, file in itertools.product(
        loaders, (LEAVE_OUT, *CLASSES), (LEAVE_OUT, *FORMATS), FILES
    ):
        own = {"data": file, "pickled_model": file, "model_class": kind, "serialization_format": serialised}
        own = {key: value for key, value in own.items() if value is not LEAVE_OUT}
        if loader == "mlflow.sklearn":
            del own["data"]
            own.pop("model_class", None)
            function = {"loader_module": loader, "model_path": file}
        else:
            del own["pickled_model"]
            function = {"loader_module": loader, "data": file}
        for key in ("model_class", "serialization_format"):
            if loader in ("mlflow.onnx", "mlflow.xgboost") and own.get(key) is None:
                own.pop(key, None)
        yield {"python_function": function, loader.rpartition(".")[2].strip(): own}


def written(folder: Path, flavors: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": flavors}), encoding="utf-8")
    return folder


def loaded(folder: Path, flavors: dict[str, Any]) -> None:
    """What MLflow does where it would load; the files are no models, so it fails or runs code."""
    function = flavors["python_function"]
    path = folder / function["data"] if "data" in function else folder
    with contextlib.suppress(Exception):
        importlib.import_module(function["loader_module"])._load_pyfunc(str(path))


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose model files are pickles that leave a mark, beside a module that leaves one too."""
    mark = tmp_path / "ran"
    folder = tmp_path / "model"
    folder.mkdir()
    for name in FILES:
        (folder / name).write_bytes(pickle.dumps(Loud(mark)))
    (tmp_path / "planted.py").write_text(f"def run():\n    open({str(mark)!r}, 'w')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_no_description_that_passes_has_mlflow_unpickle_or_import(planted: Path) -> None:
    mark, taken = planted.parent / "ran", 0
    for flavors in descriptions():
        if not list(code_in_model(flavors)):
            loaded(written(planted, flavors), flavors)
            assert not mark.exists(), flavors
            taken += 1
    assert taken >= 6
    begins_alike = {
        "python_function": {"loader_module": "mlflow.lightgbm", "data": "model.lgb"},
        "lightgbm": {"data": "model.lgb", "model_class": f"{LIGHTGBM}X"},
    }
    loaded(written(planted, begins_alike), begins_alike)
    assert mark.exists(), "the fault could not have fired"


def test_a_graph_beside_another_kind_of_model_is_not_asked(tmp_path: Path) -> None:
    own = {"pickled_model": "model.skops", "serialization_format": "skops"}
    flavors: dict[str, Any] = {
        "python_function": {"loader_module": "mlflow.sklearn", "model_path": "model.skops"},
        "sklearn": own,
        "onnx": {"data": "../elsewhere.onnx"},
    }
    assert find_graph(str(written(tmp_path / "model", flavors))) is None
    flavors["python_function"] = {"loader_module": "mlflow.onnx", "data": "model.onnx"}
    assert find_graph(str(written(tmp_path / "model", flavors))) is not None


def graph_with_weights(location: str) -> bytes:
    """y = x + w in a branch of an `if`, with the four numbers of w in a file."""
    from onnx import TensorProto, helper

    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": "0", "length": "16"}.items():
        weights.external_data.add(key=key, value=value)
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 4])
    branch = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])], "branch", [], [answer], [weights]
    )
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    graph = helper.make_graph(
        [helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])],
        [answer],
        [yes],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


WEIGHTS = {
    "beside it": ("weights.bin", {}, None),
    "above it": ("../secret.bin", {}, "takes weights from a file that is not beside it, got ../secret.bin"),
    "anywhere": ("/etc/passwd", {}, "takes weights from a file that is not beside it, got /etc/passwd"),
    "nowhere, in a folder that was moved": (
        "secret.bin",
        {"extra_session_config": {"session.model_external_initializers_file_folder_path": ".."}},
        "session.model_external_initializers_file_folder_path",
    ),
}  # fmt: skip


@pytest.mark.parametrize("where", WEIGHTS)
def test_an_onnx_graph_takes_its_weights_from_its_own_folder(project: Path, where: str) -> None:
    location, options, refusal = WEIGHTS[where]
    folder = project / "onnx"
    folder.mkdir()
    for file in (folder / "weights.bin", project / "secret.bin"):
        file.write_bytes(np.arange(4, dtype="f4").tobytes())
    (folder / "model.onnx").write_bytes(graph_with_weights(location))
    described = {
        "flavors": {
            "python_function": {"loader_module": "mlflow.onnx", "data": "model.onnx"},
            "onnx": {"data": "model.onnx", "onnx_session_options": options},
        },
        "signature": {"inputs": json.dumps([{"name": name, "type": "float"} for name in "abcd"])},
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(described))
    register_folder(project, folder)
    registry = MlflowRegistry(f"sqlite:///{project / 'mlflow.db'}", code="refuse")
    if refusal is not None:
        with pytest.raises((RequestError, ScoringRefused)) as refused:
            registry.fetch(registry.resolve(ModelRef(name="churn")), project / "models")
        assert refusal in str(refused.value)
        return
    fetched = registry.fetch(registry.resolve(ModelRef(name="churn")), project / "models")
    answer = load_predictor(str(fetched))(pd.DataFrame(np.zeros((2, 4), dtype="f4"), columns=list("abcd")))
    assert answer["y"].to_list() == [0, 1, 2, 3, 0, 1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edit_", "told"),
    [
        (
            ("serialization_format: skops", "serialization_format: cloudpickle"),
            "is a pickle, which runs code",
        ),
        (("- numpy.dtype", "- posix.system"), "a type that is not known to be harmless, got posix.system"),
    ],
    ids=["a pickle", "a list of its own"],
)
def test_check_says_once_what_will_run_code_and_how_to_refuse_it(
    project: Path, deployment: Path, cli: Callable[..., Result], edit_: tuple[str, str], told: str
) -> None:
    registry = MlflowRegistry(f"sqlite:///{project / 'mlflow.db'}")
    copy = registry.fetch(registry.resolve(ModelRef(name="churn")), project / "elsewhere")
    text = (copy / "MLmodel").read_text(encoding="utf-8")
    assert edit_[0] in text
    (copy / "MLmodel").write_text(text.replace(*edit_), encoding="utf-8")
    register_folder(project, copy)
    done = cli("check", deployment)
    assert done.code == 0, done.err
    assert done.out.startswith("churn: nothing wrong found\nnote: model churn alias champion runs code of")
    assert done.out.count(told) == 1
    assert "model.code: refuse takes only models that are data" in done.out
    assert told in cli("check", deployment, "--json").json["code"][0]
    edit("alias: champion", "alias: champion, code: refuse")(project)
    refused = cli("run", deployment, "--partition", "2024-03-01")
    assert refused.code in (1, 2), refused.err
    assert not (project / "scores" / "churn").exists()
