"""Whether a model can have what a runtime takes, by the modules that its files name."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from batchdeploy.errors import Problem

TREES = ("sklearn.tree", "sklearn.ensemble", "lightgbm", "xgboost")


def runtime_problems(kind: str, modules: Collection[str] | None) -> Iterator[Problem]:
    """Why ``model.runtime: compiled`` cannot take a model; nothing where its files do not say.

    Args:
        kind: the runtime.
        modules: the modules whose objects the model's files hold, or None where that is not known.
    """
    if kind != "compiled" or modules is None or any(name.startswith(TREES) for name in modules):
        return
    homes = sorted({name for name in modules if name.startswith(("sklearn.", "mlflow."))})
    text = "compiled takes tree ensembles, and this model has none; model.runtime: native scores it as it is"
    yield Problem("model.runtime", text, ", ".join(homes) or None)
