"""Parquet files as pieces of work: footers read before the job, splits scored on whatever worker."""

from batchdeploy.adapters.parquet_splits.reading import inspect, make_splits, read_frame
from batchdeploy.adapters.parquet_splits.worker import checksum, score_split

__all__ = ["checksum", "inspect", "make_splits", "read_frame", "score_split"]
