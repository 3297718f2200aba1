"""Whether a runtime can take a model, judged by the modules that the model's files name."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from batchdeploy.errors import Problem

TREES = ("sklearn.tree", "sklearn.ensemble", "lightgbm", "xgboost")


def runtime_problems(kind: str, modules: Collection[str] | None) -> Iterator[Problem]:
    """Yields why ``model.runtime: compiled`` cannot take a model; nothing if its files do not tell.

    Args:
        kind: the runtime.
        modules: the modules of the objects in the model's files, or None if unknown.
    """
    if kind != "compiled" or modules is None or any(name.startswith(TREES) for name in modules):
        return
    homes = sorted({name for name in modules if name.startswith(("sklearn.", "mlflow."))})
    text = "compiled takes tree ensembles, and this model has none; model.runtime: native scores it as it is"
    yield Problem("model.runtime", text, ", ".join(homes) or None)
