"""Checks a deployment's ``model.params`` against the params schema of the model's signature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchdeploy.errors import Problem, RequestError, shorten

# NOTE: the wrappers of these flavors accept an argument `params` but ignore it.
IGNORED_BY = frozenset(
    f"mlflow.{flavor}"
    for flavor in (
        *("catboost", "h2o", "keras", "lightgbm", "onnx", "paddle", "pmdarima", "prophet", "sklearn"),
        *("spacy", "statsmodels", "tensorflow"),
    )
)


def read_params(schema: Any, given: Mapping[str, Any] | None, loader: str, *, where: str) -> dict[str, Any]:
    """The params to pass with every batch: the given ones in the schema's types, and the model's defaults.

    Args:
        schema: the params schema of MLflow's signature, or None.
        given: the deployment's ``model.params``.
        loader: the module that MLflow loads the model with.
        where: the model, for messages.

    Raises:
        RequestError: a param that the model does not know or would ignore, or a value of another type.
    """
    given, specs = given or {}, {} if schema is None else {spec.name: spec for spec in schema.params}
    if loader in IGNORED_BY:
        text = f"MLflow's flavor {loader.removeprefix('mlflow.')} ignores params"
        _refuse(where, [Problem(f"model.params.{name}", text) for name in given])
        return {}
    known = ", ".join(specs) or "none: log the model again with infer_signature(..., params={...})"
    problems, values = [], {}
    for name, value in given.items():
        if name not in specs:
            problems.append(Problem(f"model.params.{name}", f"the model has no such param; it takes {known}"))
        elif (problem := _type_problem(specs[name], value)) is not None:
            problems.append(Problem(f"model.params.{name}", problem, repr(value)))
        else:
            values[name] = _typed(specs[name], value)
    _refuse(where, problems)
    return {name: values.get(name, spec.to_dict()["default"]) for name, spec in specs.items()}


def _refuse(where: str, problems: list[Problem]) -> None:
    if problems:
        raise RequestError(f"model {where}", tuple(problems))


def _type_problem(spec: Any, value: Any) -> str | None:
    from mlflow.exceptions import MlflowException

    wanted = f"the model wants {_kind(spec)}"
    if value is None:
        return f"{wanted}; leave it out for the default"
    # NOTE: to MLflow, true is the integer 1.
    numbers = value if isinstance(value, list) else [value]
    if getattr(spec.dtype, "name", "") != "boolean" and any(isinstance(one, bool) for one in numbers):
        return wanted
    try:
        type(spec).validate_param_spec(value, spec)
    except MlflowException as error:
        return wanted if hasattr(spec.dtype, "name") else f"{wanted}: {shorten(error)}"
    return None


def _typed(spec: Any, value: Any) -> Any:
    """The value as JSON holds it; MLflow reads a datetime from its text when it is passed."""
    if getattr(spec.dtype, "name", "datetime") == "datetime":
        return value
    return type(spec).validate_param_spec(value, spec)


def _kind(spec: Any) -> str:
    name = str(getattr(spec.dtype, "name", spec.dtype))
    return name if spec.shape is None else f"a list of {name}"
