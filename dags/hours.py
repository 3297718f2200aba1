from batchdeploy.airflow import ScoringDag

dag = ScoringDag("hours.yaml")
