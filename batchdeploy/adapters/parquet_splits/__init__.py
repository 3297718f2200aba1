"""Checks Parquet files, divides them into splits, and reads and scores splits on workers."""

from batchdeploy.adapters.parquet_splits.input_checks import inspect
from batchdeploy.adapters.parquet_splits.keys import find_duplicates
from batchdeploy.adapters.parquet_splits.lookup_checks import inspect_input
from batchdeploy.adapters.parquet_splits.lookups import LookupJoin
from batchdeploy.adapters.parquet_splits.pinned_files import watch_pinned_files
from batchdeploy.adapters.parquet_splits.row_partitions import RowPartitions
from batchdeploy.adapters.parquet_splits.row_reader import make_splits, read_frame, sample_frames
from batchdeploy.adapters.parquet_splits.scratch_files import printed_file
from batchdeploy.adapters.parquet_splits.split_rows import split_rows
from batchdeploy.adapters.parquet_splits.worker import score_split
from batchdeploy.adapters.parquet_splits.worker_access import access_check
from batchdeploy.host.output_capture import capture_output
from batchdeploy.kernel.keys import checksum

__all__ = [
    "LookupJoin",
    "RowPartitions",
    "access_check",
    "capture_output",
    "checksum",
    "find_duplicates",
    "inspect",
    "inspect_input",
    "make_splits",
    "printed_file",
    "read_frame",
    "sample_frames",
    "score_split",
    "split_rows",
    "watch_pinned_files",
]
