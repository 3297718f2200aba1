"""Descriptions of models that bring code along, openly or not."""

from __future__ import annotations

from typing import Any

import pytest

from batchdeploy.core.model_safety import code_in_model, unknown_types

SKOPS = {"serialization_format": "skops", "pickled_model": "model.skops", "code": None}
SKLEARN = {"loader_module": "mlflow.sklearn", "model_path": "model.skops"}
XGBOOST = {"loader_module": "mlflow.xgboost", "data": "model.xgb"}
BOOSTER = {"data": "model.xgb", "model_class": "xgboost.sklearn.XGBClassifier"}
ONNX = {"loader_module": "mlflow.onnx", "data": "model.onnx"}


@pytest.mark.parametrize(
    "flavors",
    [
        {"python_function": SKLEARN, "sklearn": SKOPS},
        {"python_function": XGBOOST, "xgboost": BOOSTER},
        {"python_function": ONNX, "onnx": {"data": "model.onnx"}},
        {
            "python_function": {"loader_module": "mlflow.lightgbm", "data": "model.lgb"},
            "lightgbm": {"data": "model.lgb", "model_class": "lightgbm.basic.Booster"},
        },
    ],
)
def test_models_that_are_data_pass(flavors: dict[str, Any]) -> None:
    assert list(code_in_model(flavors)) == []


FOREIGN = {"loader_module": "evil", "code": "code"}
PICKLE = SKOPS | {"serialization_format": "cloudpickle"}
ABOVE = {
    "python_function": SKLEARN | {"model_path": "../m.skops"},
    "sklearn": SKOPS | {"pickled_model": "../m.skops"},
}
SYSTEM = {"python_function": XGBOOST, "xgboost": BOOSTER | {"model_class": "os.system"}}
CODE: dict[str, tuple[dict[str, Any], str]] = {
    "nothing at all": ({}, "loader_module"),
    "code of its own": ({"python_function": {"loader_module": "mlflow.pyfunc.model"}}, "runs Python code"),
    "a loader of its own": ({"python_function": FOREIGN}, "runs Python code"),
    "a pickle": ({"python_function": SKLEARN, "sklearn": PICKLE}, "is a pickle"),
    "no flavor of the loader's": ({"python_function": SKLEARN}, "would be loaded as a pickle"),
    "a data path that leads away": (
        {"python_function": SKLEARN | {"data": "sub/weights.bin"}, "sklearn": SKOPS}, "names another file",
    ),
    "a file that is not called skops": (
        {"python_function": SKLEARN | {"model_path": "m.bin"}, "sklearn": SKOPS | {"pickled_model": "m.bin"}},
        "is not one .skops file",
    ),
    "a file elsewhere": (ABOVE, "is not one .skops file"),
    "two files": (
        {"python_function": SKLEARN | {"model_path": "other.skops"}, "sklearn": SKOPS}, "is not one .skops",
    ),
    "code beside a flavor": ({"python_function": SKLEARN, "sklearn": SKOPS | {"code": "c"}}, "Python code"),
    "code beside another flavor": (
        {"python_function": SKLEARN, "sklearn": SKOPS, "other": {"code": "code"}}, "includes Python",
    ),
    "a booster's folder": (
        {"python_function": XGBOOST | {"data": "sub"}, "xgboost": BOOSTER}, "is not one file beside",
    ),
    "a booster of another class": (SYSTEM, "is no class of that"),
    "a class that begins like one of data": (
        {
            "python_function": {"loader_module": "mlflow.lightgbm", "data": "model.lgb"},
            "lightgbm": {"data": "model.lgb", "model_class": "lightgbm.basic.BoosterX"},
        },
        "is loaded by a pickle",
    ),
    "no class where one is asked for": (
        {
            "python_function": {"loader_module": "mlflow.lightgbm", "data": "model.lgb"},
            "lightgbm": {"data": "model.lgb", "model_class": None},
        },
        "is loaded by a pickle",
    ),
    "anything in the module of the wrappers": (
        {"python_function": XGBOOST, "xgboost": BOOSTER | {"model_class": "xgboost.sklearn.cast"}},
        "is no class of that",
    ),
    "a method that does not answer": (
        {"python_function": SKLEARN | {"predict_fn": "__setstate__"}, "sklearn": SKOPS}, "not a prediction",
    ),
    "a setting that nobody knows": (
        {"python_function": SKLEARN | {"config": {"a": 1}}, "sklearn": SKOPS}, "not known to be harmless",
    ),
    "a setting of the flavor that nobody knows": (
        {"python_function": SKLEARN, "sklearn": SKOPS | {"loader": "x"}}, "not known to be harmless",
    ),
}  # fmt: skip


FOLDER = "session.model_external_initializers_file_folder_path"
SESSIONS: dict[str, tuple[dict[str, Any], bool]] = {
    "what MLflow writes": ({"providers": ["CUDAExecutionProvider", "CPUExecutionProvider"]}, True),
    "nothing": ({"providers": None, "onnx_session_options": None}, True),
    "how fast": (
        {
            "onnx_session_options": {
                "intra_op_num_threads": 2,
                "execution_mode": "sequential",
                "graph_optimization_level": 99,
                "extra_session_config": {"session.intra_op.allow_spinning": "0"},
            }
        },
        True,
    ),
    "another folder": ({"onnx_session_options": {"extra_session_config": {FOLDER: "/etc"}}}, False),
    "no mapping": ({"onnx_session_options": {"extra_session_config": [FOLDER]}}, False),
    "a file for the optimised graph": ({"onnx_session_options": {"optimized_model_filepath": "/x"}}, False),
    "a million threads": ({"onnx_session_options": {"intra_op_num_threads": 1_000_000}}, False),
    "a provider that loads libraries": ({"providers": ["TensorrtExecutionProvider"]}, False),
    "options of a provider": ({"providers": [["CUDAExecutionProvider", {"path": "/x"}]]}, False),
}


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_may_be_told_how_fast_and_never_where(name: str) -> None:
    settings, taken = SESSIONS[name]
    flavors = {"python_function": ONNX, "onnx": {"data": "model.onnx", **settings}}
    assert bool(list(code_in_model(flavors))) is not taken


@pytest.mark.parametrize(("flavors", "expected"), CODE.values(), ids=CODE.keys())
def test_models_that_bring_code_do_not(flavors: dict[str, Any], expected: str) -> None:
    problems = list(code_in_model(flavors))
    assert any(expected in str(problem) for problem in problems), problems


def test_types_are_known_or_trusted_by_the_deployment() -> None:
    found = ["numpy.dtype", "posix.system", "my.Thing"]
    assert [problem.got for problem in unknown_types(found, ["my.Thing"])] == ["posix.system"]
