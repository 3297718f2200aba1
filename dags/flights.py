from batchdeploy.airflow import ScoringDag

dag = ScoringDag("flights.yaml")
