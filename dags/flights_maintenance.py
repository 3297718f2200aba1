from batchdeploy.airflow import MaintenanceDag, RollbackDag

rollback = RollbackDag("flights.yaml")
maintenance = MaintenanceDag("flights.yaml")
