"""Decides from a model's description whether loading it runs code, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from batchdeploy.errors import Problem

ABSENT = "not given"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFormat:
    """The settings with which one of MLflow's loaders only reads data and runs no code.

    Attributes:
        file: the flavor's setting that names the model's file.
        served: the setting of ``python_function`` that must name the same file.
        suffixes: what the file's name may end in.
        exact: settings of the flavor to their allowed values; None among them if the setting may be absent.
        ignored: settings of the flavor that do not affect loading.
        methods: the methods of the loaded model that may be called to predict.
    """

    file: str = "data"
    served: str = "data"
    suffixes: tuple[str, ...]
    exact: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("predict",)


# NOTE: a model file is untrusted. Values are compared for equality, as MLflow compares them: mlflow.lightgbm
# unpickles for any class but the one here, mlflow.xgboost imports and calls the class that is named.
DATA_FORMATS = {
    "mlflow.sklearn": DataFormat(
        file="pickled_model",
        served="model_path",
        suffixes=(".skops",),
        exact={"serialization_format": ("skops",)},
        ignored=("sklearn_version", "skops_trusted_types"),
        methods=("predict", "predict_proba", "predict_log_proba", "predict_joint_log_proba"),
    ),
    "mlflow.lightgbm": DataFormat(
        suffixes=(".lgb", ".txt"),
        exact={"model_class": ("lightgbm.basic.Booster", None)},
        ignored=("lgb_version", "serialization_format", "skops_trusted_types"),
    ),
    "mlflow.xgboost": DataFormat(
        suffixes=(".ubj", ".json", ".xgb"),
        exact={
            "model_class": (
                "xgboost.core.Booster",
                "xgboost.sklearn.XGBModel",
                "xgboost.sklearn.XGBClassifier",
                "xgboost.sklearn.XGBRegressor",
                "xgboost.sklearn.XGBRanker",
                "xgboost.sklearn.XGBRFClassifier",
                "xgboost.sklearn.XGBRFRegressor",
                None,
            )
        },
        ignored=("xgb_version", "model_format"),
    ),
    "mlflow.catboost": DataFormat(
        suffixes=(".cb", ".cbm", ".json"),
        exact={
            "model_type": ("CatBoost", "CatBoostClassifier", "CatBoostRegressor", "CatBoostRanker"),
            "save_format": ("cbm", "json", None),
        },
        ignored=("catboost_version",),
    ),
    "mlflow.onnx": DataFormat(
        suffixes=(".onnx",), ignored=("onnx_version", "providers", "onnx_session_options")
    ),
}
SERVED = ("loader_module", "predict_fn", "python_version", "env", "code")
UNREAD = ("code", "extra_files")
# Other providers load libraries and write caches to paths in their options.
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
MAX_THREADS = 256
# Session settings that only change speed; others name files and folders.
SESSION_CONFIG = (
    "session.intra_op.allow_spinning",
    "session.inter_op.allow_spinning",
    "session.set_denormal_as_zero",
)
# NOTE: the list in the model itself proves nothing, because the model's author writes it.
SKOPS_TYPES = {
    "numpy.dtype",
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.IdentityLink",
    "sklearn._loss.link.LogLink",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.link.MultinomialLogit",
}


def code_in_model(flavors: dict[str, Any]) -> Iterator[Problem]:
    """Yields what in a model's description would run its author's code or load other files than it describes.

    Loaders, serialisations, classes, files and settings that are not on the allow list are reported.

    Args:
        flavors: the part of that name of the file ``MLmodel``.
    """
    function = flavors.get("python_function")
    loader = function.get("loader_module") if isinstance(function, dict) else None
    known = DATA_FORMATS.get(loader) if isinstance(loader, str) else None
    if not isinstance(function, dict) or known is None:
        yield Problem("loader_module", "runs Python code that came with the model", str(loader))
        return
    name = str(loader).rpartition(".")[2]
    own = flavors.get(name)
    if not isinstance(own, dict):
        yield Problem(name, "has no description, and would be loaded as a pickle")
        return
    for flavor in flavors.values():
        if isinstance(flavor, dict) and flavor.get("code"):
            yield Problem("code", "includes Python code", str(flavor["code"]))
    yield from _file_problems(name, known, function, own)
    for key, allowed in known.exact.items():
        if (key not in own and None not in allowed) or (key in own and not _is_one_of(own[key], allowed)):
            yield Problem(f"{name}.{key}", _setting_problem(name, key), str(own.get(key, ABSENT)))
    if not _is_one_of(function.get("predict_fn", "predict"), known.methods):
        yield Problem("predict_fn", "is not a prediction method", str(function["predict_fn"]))
    yield from _setting_name_problems("python_function", function, (*SERVED, known.served))
    yield from _setting_name_problems(name, own, (known.file, *known.exact, *known.ignored, *UNREAD))
    if name == "onnx":
        yield from _session_problems(own)


def code_if_allowed(flavors: dict[str, Any], trusted: Iterable[str]) -> Iterator[Problem]:
    """Yields what may run code of a model's author under ``model.code: allow``.

    That is everything `code_in_model` finds, and types in a skops file that only the model's own list trusts:
    MLflow accepts that list.

    Args:
        flavors: the part of that name of the file ``MLmodel``.
        trusted: the deployment's ``model.trusted_types``.
    """
    yield from code_in_model(flavors)
    for flavor in flavors.values():
        listed = flavor.get("skops_trusted_types") if isinstance(flavor, dict) else None
        if isinstance(listed, list) and flavor.get("serialization_format") == "skops":
            yield from unknown_types(map(str, listed), trusted)


def _file_problems(
    name: str, known: DataFormat, function: Mapping[str, Any], own: Mapping[str, Any]
) -> Iterator[Problem]:
    file, served = own.get(known.file), function.get(known.served)
    if not _is_file_name(file) or file != served or not str(file).endswith(known.suffixes):
        one = f"one {known.suffixes[0]} file" if len(known.suffixes) == 1 else "one file"
        text = f"is not {one} beside the description, named {' or '.join(known.suffixes)}"
        yield Problem(f"{name}.{known.file}", text, f"{file} and {served}")
    if known.served != "data" and "data" in function:
        yield Problem(
            "python_function.data", "names another file than the flavor does", str(function["data"])
        )


def _setting_name_problems(name: str, flavor: Mapping[str, Any], known: Iterable[str]) -> Iterator[Problem]:
    for key in sorted({str(key) for key in flavor} - {*known, "data"}):
        yield Problem(f"{name}.{key}", "is a setting that is not known to be harmless")


def _session_problems(own: Mapping[str, Any]) -> Iterator[Problem]:
    """ONNX session settings outside the allow list: a model may set its speed, never the files it reads."""
    providers = own.get("providers") or ()
    for provider in [providers] if isinstance(providers, str) else providers:
        if not _is_one_of(provider, PROVIDERS):
            yield Problem("onnx.providers", f"only {', '.join(PROVIDERS)} are taken", str(provider))
    options = own.get("onnx_session_options") or {}
    if not isinstance(options, dict):
        yield Problem("onnx.onnx_session_options", "is not a mapping", str(options))
        return
    config = options.get("extra_session_config") or {}
    config = config if isinstance(config, dict) else {"extra_session_config": config}
    unknown = {str(key): value for key, value in config.items() if not _is_one_of(key, SESSION_CONFIG)}
    unknown |= {str(key): value for key, value in options.items() if not _is_harmless(key, value)}
    for key, value in unknown.items():
        text = "is a session's setting that is not known to be harmless"
        yield Problem(f"onnx.onnx_session_options.{key}", text, str(value))


def _is_harmless(key: object, value: object) -> bool:
    if key in ("inter_op_num_threads", "intra_op_num_threads"):
        return type(value) is int and 0 <= value <= MAX_THREADS
    if key == "execution_mode":
        return isinstance(value, str) and value.upper() in ("SEQUENTIAL", "PARALLEL")
    if key == "graph_optimization_level":
        return type(value) is int and value in (0, 1, 2, 3, 99)
    return key == "extra_session_config"


def _setting_problem(name: str, key: str) -> str:
    if name == "sklearn":
        return (
            "is a pickle, which runs code when it is loaded; log it again with serialization_format='skops'"
        )
    if (name, key) == ("lightgbm", "model_class"):
        return "is loaded by a pickle; log the model's booster_, which is data"
    return "is no class of that library, or none that is read as data"


def _is_one_of(value: object, allowed: Iterable[object]) -> bool:
    """Whether it is a plain `str` among these; a subclass could override equality."""
    return type(value) is str and value in tuple(allowed)


def _is_file_name(name: object) -> bool:
    """Whether it names a file in the same folder."""
    return (
        isinstance(name, str) and name not in ("", ".", "..", "MLmodel") and not {"/", "\\", "\0"} & {*name}
    )


def unknown_types(found: Iterable[str], trusted: Iterable[str]) -> Iterator[Problem]:
    """The types in a skops file that neither batchdeploy nor the deployment trusts.

    Args:
        found: the types that skops itself does not trust.
        trusted: the deployment's ``model.trusted_types``.
    """
    for name in sorted(set(found) - SKOPS_TYPES - set(trusted)):
        yield Problem("model.trusted_types", "the model holds a type that is not known to be harmless", name)
