"""Checks Parquet files, divides them into splits, and reads and scores splits on workers."""

from batchdeploy.adapters.parquet_splits.engine_rows import (
    EngineRows,
    KeyCounting,
    RowSampling,
    RowScoring,
    engine_rows,
    nanosecond_columns,
    pinned_schema,
    whole_files,
)
from batchdeploy.adapters.parquet_splits.input_checks import inspect
from batchdeploy.adapters.parquet_splits.keys import find_duplicates
from batchdeploy.adapters.parquet_splits.lookup_checks import add_lookup_columns, inspect_input
from batchdeploy.adapters.parquet_splits.lookups import LookupJoin
from batchdeploy.adapters.parquet_splits.pinned_files import open_pinned, watch_pinned_files
from batchdeploy.adapters.parquet_splits.row_partitions import RowPartitions
from batchdeploy.adapters.parquet_splits.row_reader import make_splits, read_frame, sample_frame, sampled
from batchdeploy.adapters.parquet_splits.scratch_files import printed_file, read_hashes
from batchdeploy.adapters.parquet_splits.split_rows import split_rows
from batchdeploy.adapters.parquet_splits.worker import score_split
from batchdeploy.adapters.parquet_splits.worker_access import access_check
from batchdeploy.host.output_capture import capture_output
from batchdeploy.kernel.keys import checksum

__all__ = [
    "EngineRows",
    "KeyCounting",
    "LookupJoin",
    "RowPartitions",
    "RowSampling",
    "RowScoring",
    "access_check",
    "add_lookup_columns",
    "capture_output",
    "checksum",
    "engine_rows",
    "find_duplicates",
    "inspect",
    "inspect_input",
    "make_splits",
    "nanosecond_columns",
    "open_pinned",
    "pinned_schema",
    "printed_file",
    "read_frame",
    "read_hashes",
    "sample_frame",
    "sampled",
    "score_split",
    "split_rows",
    "watch_pinned_files",
    "whole_files",
]
