"""Checks where an ONNX graph stores its weights, without opening them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from batchdeploy.errors import Problem


def external_weight_problems(file: Path) -> Iterator[Problem]:
    """Problems for weights that a graph would read from outside its own folder.

    Args:
        file: the graph. An unreadable graph is a problem, too, because it may name any file.
    """
    try:
        import onnx
    except ModuleNotFoundError:
        text = "cannot be checked without the package onnx: pip install 'batchdeploy[onnx]'"
        yield Problem(file.name, text)
        return
    try:
        graph = onnx.load_model(file, load_external_data=False)
    # The exception depends on the protobuf implementation in use.
    except Exception as error:  # noqa: BLE001
        yield Problem(file.name, "is not an ONNX graph that can be read", f"{type(error).__name__}: {error}")
        return
    named = {e.value for tensor in _tensors(graph) for e in tensor.external_data if e.key == "location"}
    for location in sorted(named):
        path = PurePosixPath(location)
        leaves = path.is_absolute() or {"..", "\\", "\0"} & {*path.parts, *location}
        if leaves or not (file.parent / path).is_file():
            yield Problem(file.name, "takes weights from a file that is not beside it", location)


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor of a graph, including those of subgraphs, functions, attributes and sparse tensors."""
    waiting = [message]
    while waiting:
        found = waiting.pop()
        if found.DESCRIPTOR.name == "TensorProto":
            yield found
        for descriptor, value in found.ListFields():
            if descriptor.message_type is not None:
                waiting += value if hasattr(value, "__len__") else [value]
