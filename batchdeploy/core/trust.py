"""Whether a model brings code of its own, told from its description before anything of it is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from batchdeploy.errors import Problem

# NOTE: a model file is whatever its author wrote; these loaders read formats that hold data only.
DATA_LOADERS = {
    "mlflow.sklearn",
    "mlflow.xgboost",
    "mlflow.lightgbm",
    "mlflow.catboost",
    "mlflow.onnx",
}
BOOSTERS = {"lightgbm": ("lightgbm.basic.Booster",), "xgboost": ("xgboost.core.Booster", "xgboost.sklearn.")}
# NOTE: ours, and not the list that the model brings: who writes a model writes that list too.
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
    """What in a model's description would run code of its author's, or leads away from what is described.

    Args:
        flavors: the part of that name of the file ``MLmodel``.
    """
    function = flavors.get("python_function") or {}
    loader = str(function.get("loader_module"))
    name = loader.rpartition(".")[2]
    own = flavors.get(name)
    if loader not in DATA_LOADERS:
        yield Problem("loader_module", "runs Python code that came with the model", loader)
        return
    if not isinstance(own, dict):
        yield Problem(name, "is not described, and would be taken for a pickle")
        return
    for flavor in (function, *flavors.values()):
        if isinstance(flavor, dict) and flavor.get("code"):
            yield Problem("code", "brings Python code along", str(flavor["code"]))
    if name == "sklearn":
        yield from _sklearn(function, own)
        return
    if not _plain(function.get("data")) or function.get("data") != own.get("data"):
        yield Problem(f"{name}.data", "is not one file beside the description", str(function.get("data")))
    if name in BOOSTERS and not str(own.get("model_class", BOOSTERS[name][0])).startswith(BOOSTERS[name]):
        text = "is loaded by a pickle, or is no class of that library"
        yield Problem(f"{name}.model_class", text, str(own["model_class"]))


def _sklearn(function: dict[str, Any], own: dict[str, Any]) -> Iterator[Problem]:
    kind, file = own.get("serialization_format"), own.get("pickled_model")
    if kind != "skops":
        text = (
            "is a pickle, which runs code when it is loaded; log it again with serialization_format='skops'"
        )
        yield Problem("sklearn.serialization_format", text, str(kind))
    elif not (_plain(file) and str(file).endswith(".skops") and file == function.get("model_path")):
        yield Problem("sklearn.pickled_model", "is not one .skops file beside the description", str(file))
    if "data" in function:
        yield Problem("python_function.data", "leads away from what is described", str(function["data"]))


def _plain(name: object) -> bool:
    """Whether it is the name of a file in the same folder, and nothing else."""
    return isinstance(name, str) and name not in ("", ".", "..", "MLmodel") and not {"/", "\\"} & {*name}


def unknown_types(found: Iterable[str], trusted: Iterable[str]) -> Iterator[Problem]:
    """The types in a skops file that neither batchdeploy nor the deployment trusts.

    Args:
        found: what skops itself does not trust.
        trusted: the deployment's ``model.trusted_types``.
    """
    for name in sorted(set(found) - SKOPS_TYPES - set(trusted)):
        yield Problem("model.trusted_types", "the model holds a type that is not known to be harmless", name)
