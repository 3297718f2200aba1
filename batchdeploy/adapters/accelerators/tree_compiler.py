"""Compiles a library that evaluates a model's trees as machine code.

Treelite reads the fitted trees of each library, `forest` arranges them as arrays, and `walk.c` evaluates
them. Code generated as nested ifs, as by tl2cgen, was ten times slower on noisy labels and took minutes to
compile for deep forests: docs/performance.md.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from batchdeploy.adapters.accelerators.accelerated_model import (
    HINT,
    LIBRARY,
    TREES,
    ModelLoaders,
    estimator_of,
    unsupported_model,
)
from batchdeploy.adapters.accelerators.encoders import last_step
from batchdeploy.adapters.accelerators.forest import UnsupportedForest, read_forest
from batchdeploy.errors import EngineError, Problem

SOURCE = Path(__file__).with_name("walk.c")
COMPILERS = ("gcc", "clang", "cc")
# NOTE: no -march, because workers may have another processor than the machine that compiles.
FLAGS = ("-O3", "-shared", "-fPIC", "-ffp-contract=off")
BUILD_SECONDS = 60


def make(model: Path, into: Path, loaders: ModelLoaders) -> None:
    """Writes a model's trees, and the library that evaluates them, into a folder."""
    estimator, _, _ = estimator_of("compiled", str(model), loaders)
    _compile(into / LIBRARY)
    _write(_trees(estimator), into / TREES)


def _trees(model: Any) -> Any:
    import treelite

    fitted = last_step(model)
    home = type(fitted).__module__.partition(".")[0]
    try:
        if home == "lightgbm":
            return treelite.frontend.from_lightgbm(getattr(fitted, "booster_", fitted))
        if home == "xgboost":
            return treelite.frontend.from_xgboost(
                fitted.get_booster() if hasattr(fitted, "get_booster") else fitted
            )
        return treelite.sklearn.import_model(fitted)
    except (treelite.TreeliteError, NotImplementedError, ValueError, TypeError, AttributeError) as error:
        raise unsupported_model("compiled", f"{type(fitted).__name__}: {error}") from error


def _write(trees: Any, file: Path) -> None:
    try:
        read_forest(trees).save(file)
    except UnsupportedForest as error:
        raise unsupported_model("compiled", str(error)) from error


def _compile(library: Path) -> None:
    compiler = next((name for name in COMPILERS if shutil.which(name)), None)
    if compiler is None:
        problem = Problem("C compiler", f"none of {', '.join(COMPILERS)} is on PATH")
        raise EngineError("model.runtime: compiled", (problem,), hint=f"install gcc; {HINT}")
    command = [compiler, *FLAGS, "-o", str(library), str(SOURCE)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS)
    except subprocess.TimeoutExpired as error:
        problem = Problem(compiler, f"did not end within {BUILD_SECONDS} s")
        raise EngineError("model.runtime: compiled", (problem,), hint=HINT) from error
    if done.returncode or not library.is_file():
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise EngineError("model.runtime: compiled", (Problem(compiler, "failed", last),), hint=HINT)
