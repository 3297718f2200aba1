"""Calls a model with a frame or with tensors of its columns, as in its signature, and with its params."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

from batchdeploy.core.records import TensorInput
from batchdeploy.core.scoring_spec import ScoringSpec

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class ModelCall:
    """A model as a function of a frame of its inputs.

    Args:
        predict: takes the input in the model's signature, and the keyword ``params`` if the spec has any.
        spec: the tensors that the frame's columns form, and the params.

    Attributes:
        single: whether the model predicts in 32 bits.
    """

    def __init__(self, predict: Callable[..., Any], spec: ScoringSpec) -> None:
        self._predict = predict
        self._spec = spec
        self.single = bool(getattr(predict, "single", False))

    @property
    def native(self) -> ModelCall:
        """The call of the original model, if ``predict`` is an accelerated one."""
        return ModelCall(getattr(self._predict, "native", self._predict), self._spec)

    def __call__(self, frame: pd.DataFrame) -> Any:
        """The model's predictions for the rows of a frame."""
        return self._predict(model_input(frame, self._spec), **call_params(self._spec))


def call_params(spec: ScoringSpec) -> dict[str, Any]:
    """The keyword arguments that the model is called with."""
    # NOTE: a copy, because a model may modify its params.
    return {"params": dict(spec.params)} if spec.params else {}


def model_input(frame: pd.DataFrame, spec: ScoringSpec) -> Any:
    """The model's input: the frame itself, an array, or a dictionary of arrays by tensor name."""
    if not spec.tensors:
        return frame
    arrays = {tensor.name: _tensor(frame, tensor) for tensor in spec.tensors}
    return arrays.get(None, arrays)


def _tensor(frame: pd.DataFrame, tensor: TensorInput) -> np.ndarray[Any, Any]:
    import numpy as np

    kind = np.dtype(tensor.dtype)
    if len(tensor.columns) == 1 and prod(tensor.shape) > 1:
        cells = frame[tensor.columns[0]].to_numpy()
        rows = np.stack(list(cells)) if len(cells) else np.empty((0, prod(tensor.shape)))
    else:
        rows = frame[list(tensor.columns)].to_numpy()
    return np.ascontiguousarray(rows.reshape(len(frame), *tensor.shape), dtype=kind)
