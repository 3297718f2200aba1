"""Models answered by machine code or ONNX Runtime; see docs/performance.md."""

from batchdeploy.adapters.runtimes.building import build, folder_name, prove
from batchdeploy.adapters.runtimes.model import Loads, RuntimeLoader

__all__ = ["Loads", "RuntimeLoader", "build", "folder_name", "prove"]
