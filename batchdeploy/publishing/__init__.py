"""Publishing plain Parquet: staged in private, swapped in one atomic step, recovered after a kill."""

from batchdeploy.publishing.swap import ParquetSink

__all__ = ["ParquetSink"]
