"""Predicts with compiled trees."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path
from typing import Any

import numpy as np

from batchdeploy.adapters.accelerators.forest import Forest

# Below about this many rows a thread costs more than it saves.
ROWS_PER_THREAD = 4096
POINTERS = ("nodes", "extras", "sides", "values", "trees", "groups", "splits", "bounds", "leaves")
COUNTS = ("count", "width", "stride", "outputs", "single", "grouped")


class _Forest(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in POINTERS),
        *((name, ctypes.c_int32) for name in COUNTS),
    )


class TreePredictor:
    """Evaluates a forest with the compiled library.

    Args:
        library: the shared library.
        forest: the trees.
        threads: native threads, or None for one per core.
    """

    def __init__(self, library: Path, forest: Forest, threads: int | None) -> None:
        self._forest = forest
        self._walk = ctypes.CDLL(str(library)).walk
        self._walk.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
        self._walk.restype = None
        places = (getattr(forest, name).ctypes.data for name in POINTERS)
        sizes = (len(forest.trees), forest.width, forest.values.shape[1], len(forest.base))
        self._native = _Forest(*places, *sizes, forest.single, len(forest.groups))
        self._threads = threads or cpu_count() or 1

    def __call__(self, rows: Any) -> Any:
        """Predictions, of shape (rows, outputs).

        Args:
            rows: of shape (rows, width), 64-bit floats.
        """
        forest = self._forest
        if rows.ndim != 2 or rows.shape[1] != forest.width or rows.dtype != np.float64:
            raise ValueError(
                f"the trees take {forest.width} features of 64 bits, not {rows.shape} {rows.dtype}"
            )
        rows = np.ascontiguousarray(rows)
        sums = np.zeros((len(rows), len(forest.base)))
        if not forest.average:
            sums += forest.base
        threads = max(1, min(self._threads, len(rows) // ROWS_PER_THREAD))
        pieces = list(zip(np.array_split(rows, threads), np.array_split(sums, threads), strict=True))
        if threads == 1:
            self._add(*pieces[0])
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(lambda piece: self._add(*piece), pieces))
        if forest.average:
            sums /= len(forest.trees)
            sums += forest.base
        answer = sums.astype("f4") if forest.single else sums
        return LINKS[forest.link](answer)

    def _add(self, rows: Any, sums: Any) -> None:
        self._walk(ctypes.byref(self._native), rows.ctypes.data, len(rows), sums.ctypes.data)


def _sigmoid(sums: Any) -> Any:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-sums))


def _softmax(sums: Any) -> Any:
    powers = np.exp(sums - sums.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _identity(sums: Any) -> Any:
    return sums


LINKS: dict[str, Callable[[Any], Any]] = {
    "identity": _identity,
    "identity_multiclass": _identity,
    "sigmoid": _sigmoid,
    "multiclass_ova": _sigmoid,
    "softmax": _softmax,
    "exponential": np.exp,
}
