"""Optional dependencies: which a deployment requires, and how to install those that are missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec

from batchdeploy.core.deployment import Deployment
from batchdeploy.core.path_hints import is_remote
from batchdeploy.errors import MissingPackageError, Problem

# The modules of each extra in setup.cfg without which something fails.
MODULES = {
    "compiled": ("treelite",),
    "dvc": ("dvc",),
    "gx": ("great_expectations",),
    "lakehouse": ("deltalake", "pyiceberg", "obstore"),
    "mlflow": ("mlflow", "numpy", "pandas", "pyarrow", "scipy", "matplotlib", "threadpoolctl"),
    "objects": ("obstore", "fsspec", "tenacity"),
    "onnx": ("onnx", "onnxruntime"),
    "spark": ("pyspark",),
}


# The table formats that are read without a JVM.
LAKEHOUSE = ("delta", "iceberg")


def required_extras(deployment: Deployment) -> dict[str, str]:
    """The extras that a deployment requires, each with the key that requires it."""
    runtime, data = deployment.model.runtime, deployment.data
    extras = {
        "mlflow": "model",
        "gx": "expectations" if deployment.expectations is not None else None,
        "dvc": "data.rev" if data.dvc_rev is not None else "data.fetch" if data.fetch else None,
        "spark": "engine.kind: spark" if deployment.engine.kind == "spark" else None,
        "lakehouse": f"data.format: {data.format}" if data.format in LAKEHOUSE else None,
        "objects": _objects(deployment),
        "compiled": "model.runtime: compiled" if runtime == "compiled" else None,
        "onnx": "model.runtime: onnx" if runtime == "onnx" else None,
    }
    return {extra: key for extra, key in extras.items() if key is not None}


def _objects(deployment: Deployment) -> str | None:
    if is_remote(deployment.data.path):
        return "data.path"
    if any(is_remote(lookup.path) for lookup in deployment.data.lookups):
        return "data.lookups"
    return "publish.mode: pointer" if deployment.publish.mode == "pointer" else None


def require(extra: str, deployment: Deployment) -> None:
    """Checks that one extra is installed, without importing it.

    Raises:
        MissingPackageError: it is not; lists everything that the deployment misses, and the pip command.
    """
    if any(find_spec(module) is None for module in MODULES[extra]):
        require_all(required_extras(deployment) | {extra: required_extras(deployment).get(extra, extra)})


def require_all(extras: Mapping[str, str]) -> None:
    """Checks that these extras are installed.

    Args:
        extras: each with the key that requires it.

    Raises:
        MissingPackageError: some are not; lists all of them.
    """
    problems = tuple(
        Problem(extras[extra], f"needs {module}, which is not installed")
        for extra, modules in _missing(extras).items()
        for module in modules
    )
    if problems:
        raise MissingPackageError("this Python", problems, hint=install_hint(extras))


def install_hint(extras: Iterable[str]) -> str | None:
    """The pip command for the extras that are not installed; None if all are."""
    missing = _missing(extras)
    return f"pip install 'batchdeploy[{','.join(missing)}]'" if missing else None


def _missing(extras: Iterable[str]) -> dict[str, list[str]]:
    """The extras with missing modules, in order, each with those modules."""
    absent = {e: [module for module in MODULES[e] if find_spec(module) is None] for e in sorted(extras)}
    return {extra: modules for extra, modules in absent.items() if modules}
