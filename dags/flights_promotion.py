from batchdeploy.airflow import PromotionDag

dag = PromotionDag("flights.yaml")
