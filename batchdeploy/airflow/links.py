"""Links from a task to the run's report in Airflow, and to the model version in MLflow."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

REPORT_ROUTE = "batchdeploy-report"
RUN_KEY = "batchdeploy_run"
COMPARISON_KEY = "batchdeploy_comparison"
SUMMARY_KEY = "batchdeploy_summary"


def report_url(dag_id: str, run_id: str) -> str:
    """The URL of a DAG run's report in Airflow."""
    base = str(conf.get("api", "base_url", fallback="/")).rstrip("/")
    return f"{base}/dags/{quote(dag_id)}/runs/{quote(run_id, safe='')}/plugin/{REPORT_ROUTE}"


class ReportLink(BaseOperatorLink):
    """Links a task to the run's Report tab."""

    name = "Report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        """The tab's URL."""
        return report_url(ti_key.dag_id, ti_key.run_id)


class ModelLink(BaseOperatorLink):
    """Links a task to the model version in MLflow, if the registry is a server with a UI."""

    name = "Model version"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        """The version's URL; empty if the registry has no UI or no version is pinned yet."""
        registry, pinned = operator.registry_page, operator.pinned_model
        if registry is None or pinned is None:
            return ""
        return f"{registry}/#/models/{quote(pinned[0])}/versions/{pinned[1]}"
