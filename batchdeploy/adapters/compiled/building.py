"""Machine code for a model's trees: built once for a model and a platform, proved equal, kept.

Treelite reads the fitted trees of any of the libraries; `forest` lays them out, and `walk.c` walks them.
Trees written out as nested ifs, as tl2cgen does it, were three times slower where labels are noisy, and took
a compiler minutes where forests are deep: docs/performance.md.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

from batchdeploy.adapters.compiled.forest import Unreadable, read
from batchdeploy.adapters.compiled.model import (
    HINT,
    LIBRARY,
    TREES,
    CompiledModel,
    Estimator,
    Predictor,
    no_trees,
    parts_of,
)
from batchdeploy.core.equality import Equality, difference
from batchdeploy.errors import EngineError, Problem, ScoringRefused

PROOF = "proof.json"
SOURCE = Path(__file__).with_name("walk.c")
COMPILERS = ("gcc", "clang", "cc")
# NOTE: no -march: workers may have another processor than the machine that plans.
FLAGS = ("-O3", "-shared", "-fPIC", "-ffp-contract=off")
BUILD_SECONDS = 60


def build(
    model: Path,
    into: Path,
    samples: Callable[[], Iterable[Any]],
    loads: tuple[Callable[[str], Predictor], Estimator],
) -> Equality:
    """Makes the library where it is not there yet, and proves it.

    Args:
        model: the fetched model's folder.
        into: the library's folder; it comes into being only once it is proved.
        samples: gives frames of the model's inputs to prove it on.
        loads: loads the model as it is, and what it consists of.

    Raises:
        RequestError: the model has no trees that can be compiled.
        EngineError: there is no C compiler, or it fails.
        ScoringRefused: the answers are not those of the model.
    """
    if (into / PROOF).is_file():
        # NOTE: what nobody has used for a month is removed.
        os.utime(into)
        return Equality(**json.loads((into / PROOF).read_text(encoding="utf-8")))
    load, estimator = loads
    parts = parts_of(estimator, str(model))
    into.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=into.parent, prefix="fetching-"))
    try:
        _compile(scratch / LIBRARY)
        _write(_trees(parts[0]), scratch / TREES)
        compiled = CompiledModel(load(str(model)), parts, scratch, threads=1)
        proof = difference(compiled.native, compiled, samples())
        if not proof.equal:
            problem = Problem("the compiled model", "answers otherwise than the model", proof.told)
            raise ScoringRefused("model.runtime: compiled", (problem,), hint=HINT)
        (scratch / PROOF).write_text(json.dumps(proof._asdict()), encoding="utf-8")
        scratch.chmod(0o755)
        with suppress(OSError):
            # NOTE: where another run was first, its library is as good.
            scratch.rename(into)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return proof


def folder_name(digest: str) -> str:
    """Names what a library depends on: the model, the platform, and what wrote it."""
    ours = sha256()
    for file in sorted([*SOURCE.parent.glob("*.py"), SOURCE]):
        ours.update(file.read_bytes())
    reader = f"treelite{metadata.version('treelite')}"
    return "-".join([f"{digest}.compiled", sys.platform, platform.machine(), reader, ours.hexdigest()[:8]])


def _trees(model: Any) -> Any:
    import treelite

    fitted = model.steps[-1][1] if hasattr(model, "steps") else model
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
        raise no_trees(f"{type(fitted).__name__}: {error}") from error


def _write(trees: Any, file: Path) -> None:
    try:
        read(trees).save(file)
    except Unreadable as error:
        raise no_trees(str(error)) from error


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
