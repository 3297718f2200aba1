"""Models answered by machine code or ONNX Runtime; see docs/performance.md."""

from batchdeploy.adapters.accelerators.building import build, folder_name, prove
from batchdeploy.adapters.accelerators.model import ModelLoaders, RuntimeLoader

__all__ = ["ModelLoaders", "RuntimeLoader", "build", "folder_name", "prove"]
