"""Converts the last step of a scikit-learn model to an ONNX graph in 64 bits.

The steps before it stay in scikit-learn, so that text, missing values and unseen categories are handled by
the fitted steps themselves.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from batchdeploy.adapters.accelerators.accelerated_model import (
    GRAPH,
    ModelLoaders,
    estimator_of,
    unsupported_model,
)
from batchdeploy.adapters.accelerators.encoders import last_step


def make(model: Path, into: Path, loaders: ModelLoaders) -> None:
    """Writes the graph of a model into a folder, unless the model is a graph itself."""
    if loaders.graph(str(model)) is not None:
        return
    estimator, _, _ = estimator_of("onnx", str(model), loaders)
    (into / GRAPH).write_bytes(_converted(last_step(estimator)))


def _converted(fitted: Any) -> bytes:
    try:
        import skl2onnx
        from skl2onnx.common.data_types import DoubleTensorType
    except ModuleNotFoundError as error:
        raise unsupported_model("onnx", f"{error}; pip install 'batchdeploy[onnx]'") from error
    labelled = hasattr(fitted, "classes_") and hasattr(fitted, "predict_proba")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = skl2onnx.to_onnx(
                fitted,
                initial_types=[("rows", DoubleTensorType([None, fitted.n_features_in_]))],
                # Returns probabilities as an array instead of a dictionary per row.
                options={id(fitted): {"zipmap": False}} if labelled else None,
            )
    # Converters raise many kinds of exceptions.
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise unsupported_model("onnx", f"{type(fitted).__name__} is not converted: {first}") from error
    return bytes(graph.SerializeToString())
