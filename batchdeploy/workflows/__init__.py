"""Workflows, one verb per module. CLI, Airflow and notebook call them and add only their input and output."""
