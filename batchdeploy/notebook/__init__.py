"""The notebook's door: a deployment as an object, and a run with its scores and drift as DataFrames."""

from batchdeploy.notebook.job import Job, load
from batchdeploy.notebook.run import Run
from batchdeploy.notebook.shown_run import ShownRun

__all__ = ["Job", "Run", "ShownRun", "load"]
