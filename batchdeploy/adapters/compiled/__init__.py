"""Tree ensembles as machine code; see docs/performance.md."""

from batchdeploy.adapters.compiled.building import build, folder_name
from batchdeploy.adapters.compiled.model import CompiledLoader

__all__ = ["CompiledLoader", "build", "folder_name"]
