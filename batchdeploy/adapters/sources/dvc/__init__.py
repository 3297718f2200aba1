"""Partitions that DVC tracks: at a git revision, or as the workspace records them."""

from batchdeploy.adapters.sources.dvc.source import DvcSource
from batchdeploy.adapters.sources.dvc.tables import recorded_table
from batchdeploy.adapters.sources.dvc.workspace import DvcWorkspace, fetched_file, pull_command, recorded_md5s

__all__ = ["DvcSource", "DvcWorkspace", "fetched_file", "pull_command", "recorded_md5s", "recorded_table"]
