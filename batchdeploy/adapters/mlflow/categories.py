"""Turns columns into the pandas categories that a LightGBM model was trained with.

LightGBM identifies a category by its index in the column's list of categories, which the model stores, and
treats a value outside the list as missing. A signature has only the type of the values, usually string, so
the columns arrive without categories.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from batchdeploy.errors import Problem, ScoringRefused

Categories = Mapping[str, Sequence[Any]]


def find_categories(model: Any, signature: Any) -> Categories:
    """The categories of each categorical column in training; empty for other models.

    Args:
        model: the model that MLflow loaded.
        signature: the model's signature, with columns in training order; or None.

    Raises:
        ScoringRefused: the model does not say which columns its categories belong to.
    """
    if type(model).__module__.partition(".")[0] != "lightgbm":
        return {}
    booster = getattr(model, "booster_", model)
    known = booster.pandas_categorical or []
    if not known or signature is None or signature.inputs.is_tensor_spec():
        return {}
    specs = signature.inputs.inputs
    texts = {spec.name for spec in specs if getattr(spec.type, "name", "") == "string"}
    # NOTE: ordered categories have codes as well, but are not among the categorical features.
    marked = {specs[place].name for place in _categorical_features(booster) if place < len(specs)}
    columns: list[str] = []
    for names in (texts | marked, texts):
        columns = [spec.name for spec in specs if spec.name in names]
        if len(columns) == len(known):
            break
    else:
        text = f"the model has categories of {len(known)} columns; categorical by type or setting are others"
        raise ScoringRefused(
            "the model",
            (Problem("pandas_categorical", text, ", ".join(map(str, columns)) or "none"),),
            hint="train it with text columns as unordered categories, in the order of the signature",
        )
    return dict(zip(columns, known, strict=True))


def with_categories(ask: Callable[..., Any], categories: Categories) -> Callable[..., Any]:
    """Wraps a prediction function so that these columns become categorical; unknown values become missing."""
    if not categories:
        return ask
    import pandas as pd

    kinds = {name: pd.CategoricalDtype(list(values)) for name, values in categories.items()}

    @wraps(ask)
    def answer(frame: Any, **words: Any) -> Any:
        return ask(frame.astype({name: kind for name, kind in kinds.items() if name in frame}), **words)

    return answer


def _categorical_features(booster: Any) -> list[int]:
    """The indices of the features that the booster splits by category."""
    given = (booster.params or {}).get(
        "categorical_column", (booster.params or {}).get("categorical_feature")
    )
    places = given.split(",") if isinstance(given, str) else given or []
    return [int(place) for place in places if str(place).strip().isdecimal()]
