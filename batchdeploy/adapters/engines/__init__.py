"""Engines that run work over splits: in this process, or with Spark."""
