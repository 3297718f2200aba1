"""Spark as an engine: sessions, splits as tasks, and what workers elsewhere need."""

from batchdeploy.adapters.spark_engine.engine import SparkEngine

__all__ = ["SparkEngine"]
