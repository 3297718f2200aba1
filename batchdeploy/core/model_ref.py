"""Which model a deployment scores with, and how it is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from batchdeploy.core import FORBID_UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """Which columns fill the input of a model whose signature names none.

    Attributes:
        columns: for a model with one tensor: a column for each of its values, in the model's order, or the
            one column that holds a list for each row. Also names the columns of a signature without names.
        tensors: for a model with several tensors: the same by the tensor's name; a tensor that is not
            mentioned is read from the column of its own name.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    columns: tuple[str, ...] | None = None
    tensors: dict[str, tuple[str, ...]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """Which registered model scores: by alias (moves) or by version (does not).

    Attributes:
        name: the registered model's name in MLflow.
        alias: resolved at each run and pinned in its plan; ``champion`` if neither is given.
        version: an exact version instead of an alias.
        registry: the URI of MLflow's model registry, ``databricks-uc`` or ``databricks-uc://profile`` for
            Unity Catalog; null uses ``MLFLOW_REGISTRY_URI``, else the registry that belongs to ``tracking``.
        tracking: the URI of the tracking server with the logged models, if it is another one; null uses that
            of ``registry``. Without both, ``MLFLOW_TRACKING_URI``, else the project's ``mlflow.db``.
        code: ``allow`` loads any model that MLflow can load; a pickle or a Python model then runs its
            author's code. ``refuse`` accepts only formats that hold data: scikit-learn saved by skops,
            XGBoost and LightGBM boosters, CatBoost, ONNX.
        trusted_types: further types to accept in skops files; used with ``code: refuse``.
        runtime: ``native`` scores with the model as MLflow loads it. ``compiled`` compiles the tree ensemble
            at its end (scikit-learn, LightGBM, XGBoost) to machine code, once per model and platform, and
            uses it if its predictions for rows of the partition match the model's to 1e-9. ``onnx`` uses ONNX
            Runtime: for an ONNX model, or for a scikit-learn model whose last step is converted in 64 bits,
            on the same condition.
        fallback: what to do if a model cannot be compiled or converted, or its predictions then differ:
            ``refuse``, or ``native``, which logs it and scores with the native model.
        params: values for the params in the model's signature, checked against their types; a param that is
            not given has the model's default. They are recorded in the plan, so no secret may be among them.
        input: which columns fill a model whose signature is a tensor, as those of PyTorch and Keras are.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    name: str
    alias: str | None = None
    version: int | None = None
    registry: str | None = None
    tracking: str | None = None
    code: Literal["allow", "refuse"] = "allow"
    trusted_types: tuple[str, ...] = ()
    runtime: Literal["native", "compiled", "onnx"] = "native"
    fallback: Literal["refuse", "native"] = "refuse"
    params: dict[str, Any] | None = None
    input: InputSpec | None = None

    @property
    def label(self) -> str:
        """``version 3`` or ``alias champion``, for display."""
        return f"version {self.version}" if self.version is not None else f"alias {self.alias or 'champion'}"
