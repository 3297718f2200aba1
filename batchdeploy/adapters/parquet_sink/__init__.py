"""Publishing plain Parquet: staged in private, swapped in one atomic step, recovered after a kill."""

from batchdeploy.adapters.parquet_sink.sink import ParquetSink

__all__ = ["ParquetSink"]
