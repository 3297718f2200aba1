"""Cached encoders, machine code and ONNX Runtime in a model's place; see docs/performance.md."""

from batchdeploy.adapters.accelerators.building import build, folder_name, prove
from batchdeploy.adapters.accelerators.encoders import with_cached_encoders
from batchdeploy.adapters.accelerators.model import ModelLoaders, RuntimeLoader

__all__ = ["ModelLoaders", "RuntimeLoader", "build", "folder_name", "prove", "with_cached_encoders"]
