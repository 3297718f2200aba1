"""Optional parts of the library: which a deployment needs, and what to type for those that are missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec

from batchdeploy.core.deployment import Deployment
from batchdeploy.errors import MissingPackageError, Problem

# NOTE: what each extra of setup.cfg brings that something fails without.
MODULES = {
    "compiled": ("treelite",),
    "dvc": ("dvc",),
    "gx": ("great_expectations",),
    "mlflow": ("mlflow", "numpy", "pandas", "pyarrow", "scipy", "matplotlib", "threadpoolctl"),
    "objects": ("obstore", "fsspec", "tenacity"),
    "onnx": ("onnx", "onnxruntime"),
    "spark": ("pyspark",),
}


def required_extras(deployment: Deployment) -> dict[str, str]:
    """The extras that a deployment needs, each with the key of the file that says so."""
    runtime, mode = deployment.model.runtime, deployment.publish.mode
    extras = {
        "mlflow": "model",
        "gx": "expectations" if deployment.expectations is not None else None,
        "dvc": "data.rev" if deployment.data.rev is not None else None,
        "spark": "engine.kind: spark" if deployment.engine.kind == "spark" else None,
        "objects": "publish.mode: pointer" if mode == "pointer" else None,
        "compiled": "model.runtime: compiled" if runtime == "compiled" else None,
        "onnx": "model.runtime: onnx" if runtime == "onnx" else None,
    }
    return {extra: key for extra, key in extras.items() if key is not None}


def require(extra: str, deployment: Deployment) -> None:
    """Checks that one part is installed, without importing it.

    Raises:
        MissingPackageError: it is not; with all that the deployment lacks, and what to type.
    """
    if any(find_spec(module) is None for module in MODULES[extra]):
        require_all(required_extras(deployment) | {extra: required_extras(deployment).get(extra, extra)})


def require_all(extras: Mapping[str, str]) -> None:
    """Checks that these parts are installed.

    Args:
        extras: each with what it is needed for.

    Raises:
        MissingPackageError: some are not; all of them in one message.
    """
    problems = tuple(
        Problem(extras[extra], f"needs {module}, which is not installed")
        for extra, modules in _missing(extras).items()
        for module in modules
    )
    if problems:
        raise MissingPackageError("this Python", problems, hint=install_hint(extras))


def install_hint(extras: Iterable[str]) -> str | None:
    """What to type for those of the extras that are not installed; None where all are."""
    missing = _missing(extras)
    return f"pip install 'batchdeploy[{','.join(missing)}]'" if missing else None


def _missing(extras: Iterable[str]) -> dict[str, list[str]]:
    """The extras that are not there whole, in order, and which of their modules are not."""
    absent = {e: [module for module in MODULES[e] if find_spec(module) is None] for e in sorted(extras)}
    return {extra: modules for extra, modules in absent.items() if modules}
