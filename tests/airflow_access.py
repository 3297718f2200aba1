"""An auth manager under which one user may see no runs of one DAG; Airflow's simple one knows roles only."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

STRANGER = "stranger"
FORBIDDEN = "churn"


class PerDagAuthManager(SimpleAuthManager):
    """The simple auth manager, and one exception to it."""

    def is_authorized_dag(self, *, user: Any, details: Any = None, **rest: Any) -> bool:
        if user.username == STRANGER and details is not None and details.id == FORBIDDEN:
            return False
        return super().is_authorized_dag(user=user, details=details, **rest)
