"""The Spark engine: manages the session, runs splits as tasks and distributes files to workers."""

from batchdeploy.adapters.engines.spark.engine import SparkEngine

__all__ = ["SparkEngine"]
