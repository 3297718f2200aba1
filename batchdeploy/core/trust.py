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
    """What in a model's description would run code of its author's.

    Args:
        flavors: the part of that name of the file ``MLmodel``.
    """
    function = flavors.get("python_function") or {}
    loader = str(function.get("loader_module"))
    if loader not in DATA_LOADERS:
        yield Problem("loader_module", "runs Python code that came with the model", loader)
    for name, flavor in flavors.items():
        if isinstance(flavor, dict) and flavor.get("code"):
            yield Problem(f"{name}.code", "brings Python code along", str(flavor["code"]))
    sklearn = flavors.get("sklearn") if loader == "mlflow.sklearn" else None
    if sklearn is not None and sklearn.get("serialization_format") != "skops":
        yield Problem(
            "sklearn.serialization_format",
            "is a pickle, which runs code when it is loaded; log it again with serialization_format='skops'",
            str(sklearn.get("serialization_format")),
        )
    for name, classes in BOOSTERS.items():
        if loader == f"mlflow.{name}":
            found = str((flavors.get(name) or {}).get("model_class", classes[0]))
            if not found.startswith(classes):
                yield Problem(
                    f"{name}.model_class", "is loaded by a pickle, or is no class of that library", found
                )


def unknown_types(found: Iterable[str], trusted: Iterable[str]) -> Iterator[Problem]:
    """The types in a skops file that neither batchdeploy nor the deployment trusts.

    Args:
        found: what skops itself does not trust.
        trusted: the deployment's ``model.trusted_types``.
    """
    for name in sorted(set(found) - SKOPS_TYPES - set(trusted)):
        yield Problem("model.trusted_types", "the model holds a type that is not known to be harmless", name)
