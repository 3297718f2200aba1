"""Tree ensembles as machine code: built once for a model and a platform, proved equal, loaded by workers.

Treelite reads the fitted trees and tl2cgen writes them as C. The rest of the model (a pipeline's
preprocessing, which method answers, the labels) stays what it is.
"""

from __future__ import annotations

import copy
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from batchdeploy.core.equality import Equality, difference
from batchdeploy.errors import EngineError, Problem, RequestError, ScoringRefused

LIBRARY, CHECKPOINT, PROOF = "trees.so", "trees.bin", "proof.json"
COMPILERS = ("gcc", "clang")
BUILD_SECONDS = 1800
HINT = "model.runtime: native scores with the model as it is"
Predictor = Callable[[Any], Any]
Estimator = Callable[[str], tuple[Any, str] | None]
# NOTE: a process of its own, because the libraries print as they like. Several sources, so that all cores
# compile. Quantised thresholds are compared as integers: the same branches, and up to twice as quick.
SOURCES = 16
EXPORT = """\
import sys, treelite, tl2cgen
checkpoint, library, compiler, parts = sys.argv[1:]
trees = treelite.Model.deserialize(checkpoint)
params = {"parallel_comp": int(parts), "quantize": 1}
tl2cgen.export_lib(trees, toolchain=compiler, libpath=library, params=params)
"""


@dataclass(frozen=True, slots=True)
class CompiledLoader:
    """Loads a model whose trees a library answers; equal where model and library are the same.

    Attributes:
        library: the folder that `build` made, as workers find it.
        load: loads a model as it is.
        estimator: loads what a model consists of.
        locate: gives where a folder is on this machine.
        threads: native threads a worker may use, or None for as many as there are.
    """

    library: str
    load: Callable[[str], Predictor]
    estimator: Estimator
    locate: Callable[[str], str]
    threads: int | None

    def __call__(self, folder: str) -> Predictor:
        """The model in ``folder`` as a function from a frame of its inputs to its answer."""
        place = self.locate(folder)
        library = Path(self.locate(self.library), LIBRARY)
        return CompiledModel(self.load(place), _parts_of(self.estimator, place), library, self.threads)


class CompiledModel:
    """Answers as the model does, its trees by machine code; ``native`` is the model as it was."""

    def __init__(self, native: Predictor, parts: tuple[Any, str], library: Path, threads: int | None) -> None:
        self.native = native
        model, method = parts
        if hasattr(model, "steps"):
            name, last = model.steps[-1]
            model = copy.copy(model)
            model.steps = [*model.steps[:-1], (name, CompiledTrees(last, library, threads))]
        else:
            model = CompiledTrees(model, library, threads)
        self._answer: Predictor = getattr(model, method)

    def __call__(self, frame: Any) -> Any:
        """The model's answer for a frame of its inputs."""
        return self._answer(frame)


class CompiledTrees:
    """Stands where the fitted trees stood, and has their methods."""

    def __init__(self, fitted: Any, library: Path, threads: int | None) -> None:
        import tl2cgen

        self._fitted = fitted
        self._trees = tl2cgen.Predictor(library, nthread=threads)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_fitted"], name)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict_proba(self, rows: Any) -> Any:
        """Probabilities, of shape (rows, classes)."""
        import numpy as np

        answer = self._ask(rows)
        return np.column_stack([1 - answer[:, 0], answer[:, 0]]) if answer.shape[1] == 1 else answer

    def predict(self, rows: Any) -> Any:
        """Labels or numbers, of shape (rows,); a booster of several classes gives (rows, classes)."""
        if hasattr(self._fitted, "classes_"):
            return self._fitted.classes_[self.predict_proba(rows).argmax(axis=1)]
        answer = self._ask(rows)
        return answer[:, 0] if answer.shape[1] == 1 else answer

    def _ask(self, rows: Any) -> Any:
        import tl2cgen

        values = _as_seen_by(self._fitted, rows)
        answer = self._trees.predict(tl2cgen.DMatrix(values, dtype="float64"))
        return answer.reshape(len(values), -1)


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
    parts = _parts_of(estimator, str(model))
    into.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=into.parent, prefix="fetching-"))
    try:
        _export(_trees(parts[0]), scratch)
        compiled = CompiledModel(load(str(model)), parts, scratch / LIBRARY, threads=1)
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
    versions = (f"{name}{metadata.version(name)}" for name in ("treelite", "tl2cgen"))
    return "-".join([f"{digest}.compiled", sys.platform, platform.machine(), *versions])


def _parts_of(estimator: Estimator, folder: str) -> tuple[Any, str]:
    parts = estimator(folder)
    if parts is None:
        raise _no_trees("it is not logged by MLflow's scikit-learn, LightGBM or XGBoost")
    return parts


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
        raise _no_trees(f"{type(fitted).__name__}: {error}") from error


def _no_trees(why: str) -> RequestError:
    problem = Problem("model.runtime", "compiled takes tree ensembles that Treelite reads", why)
    return RequestError("the model", (problem,), hint=HINT)


def _as_seen_by(fitted: Any, rows: Any) -> Any:
    """The features as the trees themselves look at them: their own checks, and their own precision."""
    import numpy as np

    home = type(fitted).__module__.partition(".")[0]
    if home != "sklearn":
        kind = np.float32 if home == "xgboost" else np.float64
        return np.ascontiguousarray(np.asarray(rows, dtype=kind), dtype="float64")
    from sklearn.utils.validation import validate_data

    binned = "_hist_gradient_boosting" in type(fitted).__module__
    nan = fitted.__sklearn_tags__().input_tags.allow_nan
    values = validate_data(
        fitted,
        rows,
        # NOTE: every tree of scikit-learn but the histogram kind reads its features as 32-bit floats.
        dtype=np.float64 if binned else np.float32,
        ensure_all_finite=False if binned else "allow-nan" if nan else True,
        reset=False,
        order="C",
    )
    return np.ascontiguousarray(values, dtype="float64")


def _export(trees: Any, folder: Path) -> None:
    compiler = next((name for name in COMPILERS if shutil.which(name)), None)
    if compiler is None:
        problem = Problem("C compiler", f"none of {', '.join(COMPILERS)} is on PATH")
        raise EngineError("model.runtime: compiled", (problem,), hint=f"install gcc; {HINT}")
    checkpoint, library = folder / CHECKPOINT, folder / LIBRARY
    trees.serialize(str(checkpoint))
    sources = str(min(trees.num_tree, SOURCES))
    command = [sys.executable, "-c", EXPORT, str(checkpoint), str(library), compiler, sources]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS)
    except subprocess.TimeoutExpired as error:
        text = f"did not end within {BUILD_SECONDS // 60} minutes"
        raise EngineError("model.runtime: compiled", (Problem(compiler, text),), hint=HINT) from error
    checkpoint.unlink(missing_ok=True)
    if done.returncode or not library.is_file():
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        problem = Problem(compiler, "failed on the trees", last)
        raise EngineError("model.runtime: compiled", (problem,), hint=HINT)
