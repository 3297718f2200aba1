"""Builds what an accelerated runtime needs, once per model and platform, and verifies its predictions."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from batchdeploy.adapters.accelerators import onnx_converter, tree_compiler
from batchdeploy.adapters.accelerators.accelerated_model import HINT, ModelLoaders, accelerated_predictor
from batchdeploy.errors import (
    BatchdeployError,
    EngineError,
    Problem,
    RequestError,
    ScoringRefused,
    shorten,
)
from batchdeploy.host.file_modes import restrict_tree
from batchdeploy.kernel.comparison import Equality, compare_predictions
from batchdeploy.redaction import logger

LOG = logger(__name__)
Kind = Literal["compiled", "onnx"]
PROOF = "proof.json"
# The first installed package of each group counts; ONNX Runtime has a separate package for GPUs.
BUILT_WITH = {
    "compiled": (("treelite",),),
    "onnx": (("onnxruntime", "onnxruntime-gpu"), ("skl2onnx",)),
}
BUILDERS: dict[str, Callable[[Path, Path, ModelLoaders], None]] = {
    "compiled": tree_compiler.make,
    "onnx": onnx_converter.make,
}


def build_artifact(
    kind: Kind, model: Path, into: Path, samples: Callable[[], Iterable[Any]], loaders: ModelLoaders
) -> Equality:
    """Builds a runtime's artifact, unless it exists, and compares its predictions with the model's.

    Args:
        kind: the runtime.
        model: the fetched model's folder.
        into: the artifact's folder; created only after the comparison succeeded.
        samples: returns frames of the model's inputs for the comparison.
        loaders: load the original model and its parts.

    Returns:
        The result of the comparison. It has zero rows if the model can predict none of the samples; the
        artifact is then discarded.

    Raises:
        RequestError: the runtime does not support the model.
        EngineError: there is no C compiler, or it fails.
        ScoringRefused: the predictions differ from the model's, or the artifact fails to predict.
    """
    if (into / PROOF).is_file():
        # Garbage collection removes folders that were not touched for a month.
        os.utime(into)
        return Equality(**json.loads((into / PROOF).read_text(encoding="utf-8")))
    into.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=into.parent, prefix="fetching-"))
    try:
        BUILDERS[kind](model, scratch, loaders)
        proof = _verify(kind, model, scratch, samples, loaders)
        if proof.rows:
            (scratch / PROOF).write_text(json.dumps(proof._asdict()), encoding="utf-8")
            scratch.chmod(0o755)
            restrict_tree(scratch)
            _keep(scratch, into)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return proof


def _verify(
    kind: Kind, model: Path, artifact: Path, samples: Callable[[], Iterable[Any]], loaders: ModelLoaders
) -> Equality:
    try:
        other = accelerated_predictor(kind, str(model), artifact, loaders, threads=1)
        proof = compare_predictions(
            loaders.call(other.native), loaders.call(other), samples(), single=other.single
        )
    except BatchdeployError:
        raise
    # A model or a graph may raise any exception.
    except Exception as error:
        got = f"{type(error).__name__}: {shorten(error)}"
        problem = Problem(f"the {kind} model", "fails to predict", got)
        raise ScoringRefused(f"model.runtime: {kind}", (problem,), hint=HINT) from error
    if proof.rows and not proof.equal:
        problem = Problem(f"the {kind} model", "predicts differently from the original", proof.summary)
        raise ScoringRefused(f"model.runtime: {kind}", (problem,), hint=HINT)
    return proof


def _keep(artifact: Path, into: Path) -> None:
    """Renames the artifact to its final folder; keeps that of a concurrent run if there is one."""
    try:
        artifact.rename(into)
    except OSError:
        if not (into / PROOF).is_file():
            # A remainder of an artifact that was being removed.
            shutil.rmtree(into, ignore_errors=True)
            artifact.rename(into)


def build_or_fall_back(
    kind: Kind,
    model: Path,
    into: Path,
    samples: Callable[[], Iterable[Any]],
    loaders: ModelLoaders,
    *,
    refuse: bool,
) -> bool:
    """Calls `build_artifact` and returns whether the runtime is usable; if not, warns or raises."""
    try:
        return build_artifact(kind, model, into, samples, loaders).rows > 0
    except (RequestError, EngineError, ScoringRefused) as error:
        if refuse:
            raise
        LOG.warning("model.runtime: %s falls back to native: %s", kind, error)
        return False


def artifact_name(kind: Kind, digest: str) -> str:
    """The folder's name: model digest, platform, package versions and a hash of this library's code."""
    ours = sha256()
    here = Path(__file__).parent
    for file in sorted([*here.glob("*.py"), *here.glob("*.c")]):
        ours.update(file.read_bytes())
    makers = [next(filter(None, map(_version, names)), "") for names in BUILT_WITH[kind]]
    return "-".join([f"{digest}.{kind}", sys.platform, platform.machine(), *makers, ours.hexdigest()[:8]])


def _version(name: str) -> str:
    """Name and version of a package; empty if it is not installed."""
    try:
        return f"{name}{metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return ""
