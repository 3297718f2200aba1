"""Spark as an engine: sessions, splits as tasks, and what workers elsewhere need."""

from batchdeploy.adapters.engines.spark.engine import SparkEngine

__all__ = ["SparkEngine"]
