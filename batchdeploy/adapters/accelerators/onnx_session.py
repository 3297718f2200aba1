"""Runs ONNX graphs on a CPU or a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from batchdeploy.redaction import logger

LOG = logger(__name__)
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
# By default a GPU multiplies 32-bit floats in TF32, with 10 bits of mantissa.
OPTIONS: dict[str, dict[str, str]] = {CPU: {}, CUDA: {"use_tf32": "0"}}
# ONNX Runtime's type names for those inputs that table columns can supply.
TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


class OnnxSession:
    """A session of ONNX Runtime.

    Attributes:
        names: of the outputs.
        single: whether predictions have 32 bits.

    Args:
        file: the graph; weights may be stored beside it.
        threads: native threads, or None for one per core.
        device: ``cpu`` or ``cuda``; falls back to the CPU, with a warning, without the CUDA provider.
    """

    def __init__(self, file: Path, threads: int | None, device: str = "cpu") -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        # Threads that spin while waiting would take cores from other workers.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        wanted = [CUDA, CPU] if device == "cuda" else [CPU]
        available = set(onnxruntime.get_available_providers())
        self._session = onnxruntime.InferenceSession(
            str(file), options, providers=[(name, OPTIONS[name]) for name in wanted if name in available]
        )
        # ONNX Runtime silently drops a provider that cannot start, for example without a driver.
        if missing := [name for name in wanted if name not in self._session.get_providers()]:
            LOG.warning("ONNX Runtime has no %s here: the processor answers", ", ".join(missing))
        outputs = self._session.get_outputs()
        self.names = [output.name for output in outputs]
        self.single = any(output.type == "tensor(float)" for output in outputs)
        self._inputs = [
            (found.name, TYPES.get(found.type), found.shape) for found in self._session.get_inputs()
        ]

    def run_output(self, name: str, rows: Any) -> Any:
        """One output for a matrix; the graph must have one input."""
        return self._session.run([name], {self._inputs[0][0]: rows})[0]

    def __call__(self, given: Any) -> Any:
        """All outputs: an array if there is a single wide output, else a frame.

        Args:
            given: a frame, the array of a graph with one input, or a dictionary of arrays.

        Raises:
            ValueError: the graph has an input that the frame's columns cannot supply.
        """
        import pandas as pd

        rows = len(next(iter(given.values()))) if isinstance(given, dict) else len(given)
        answers = [
            np.asarray(answer).reshape(rows, -1)
            for answer in self._session.run(self.names, self._feed(given))
        ]
        if len(answers) == 1 and answers[0].shape[1] > 1:
            return answers[0]
        columns: dict[str, Any] = {}
        for name, values in zip(self.names, answers, strict=True):
            wide = values.shape[1] > 1
            columns |= {f"{name}_{i}" if wide else name: values[:, i] for i in range(values.shape[1])}
        return pd.DataFrame(columns)

    def _feed(self, given: Any) -> Mapping[str, Any]:
        """One input takes a frame as a matrix, several take its columns by name; arrays stay as they are."""
        strange = [name for name, kind, _ in self._inputs if kind is None]
        if strange:
            raise ValueError(f"the graph's {', '.join(strange)} cannot be fed from a table")
        if isinstance(given, dict):
            return {name: _cast(name, given[name], kind) for name, kind, _ in self._inputs}
        if len(self._inputs) == 1:
            name, kind, _ = self._inputs[0]
            return {name: _cast(name, given if isinstance(given, np.ndarray) else given.to_numpy(), kind)}
        feed = {}
        for name, kind, shape in self._inputs:
            values = _cast(name, given[name].to_numpy(), kind)
            feed[name] = values[:, None] if len(shape) == 2 else values
        return feed


def _cast(name: str, values: Any, kind: Any) -> Any:
    """Casts values to an input's type; floats may be rounded, integers must be exact."""
    cast = np.ascontiguousarray(values, dtype=kind)
    if np.dtype(kind).kind in "iub" and not np.array_equal(cast, values):
        raise ValueError(f"the graph's {name} takes {np.dtype(kind)}; a value is missing, or is none")
    return cast
