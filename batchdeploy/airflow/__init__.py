"""Airflow's door: a deployment file as a DAG.

from batchdeploy.airflow import ScoringDag

dag = ScoringDag("flights.yaml")
"""

from batchdeploy.airflow.factory import ScoringDag
from batchdeploy.airflow.partition import resolve_partition

__all__ = ["ScoringDag", "resolve_partition"]
