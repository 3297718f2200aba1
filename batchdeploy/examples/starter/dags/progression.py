from batchdeploy.airflow import ScoringDag

dag = ScoringDag("progression.yaml")
