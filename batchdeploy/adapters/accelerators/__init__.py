"""Accelerates models by cached encoders, compiled trees or ONNX Runtime; see docs/performance.md."""

from batchdeploy.adapters.accelerators.accelerated_model import AcceleratedLoader, ModelLoaders
from batchdeploy.adapters.accelerators.artifacts import artifact_name, build_artifact, build_or_fall_back
from batchdeploy.adapters.accelerators.encoders import with_cached_encoders

__all__ = [
    "AcceleratedLoader",
    "ModelLoaders",
    "artifact_name",
    "build_artifact",
    "build_or_fall_back",
    "with_cached_encoders",
]
