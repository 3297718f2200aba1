"""batchdeploy: turns one YAML file into a reproducible batch scoring job.

>>> import batchdeploy as bd
>>> job = bd.load("dags/flights.yaml")          # doctest: +SKIP
>>> run = job.run("2013-02-08")                 # doctest: +SKIP
>>> run.scores, run.drift, run.report           # doctest: +SKIP

Heavy libraries are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchdeploy.errors import (
        BatchdeployError,
        GateRefused,
        OutsideError,
        RequestError,
    )
    from batchdeploy.notebook import Job, Run, load
    from batchdeploy.workflows.build_reference import build_reference

__version__ = "0.1.0"

__all__ = [
    "BatchdeployError",
    "GateRefused",
    "Job",
    "OutsideError",
    "RequestError",
    "Run",
    "__version__",
    "build_reference",
    "load",
]

_HOMES = {
    "BatchdeployError": "errors",
    "GateRefused": "errors",
    "Job": "notebook",
    "OutsideError": "errors",
    "RequestError": "errors",
    "Run": "notebook",
    "build_reference": "workflows.build_reference",
    "load": "notebook",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'batchdeploy' has no attribute {name!r}")
    return getattr(import_module(f"batchdeploy.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
