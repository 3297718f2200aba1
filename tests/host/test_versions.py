"""What workers have, against what they need."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from batchdeploy.core.work import WorkerReport
from batchdeploy.errors import RequestError
from batchdeploy.host.versions import versions_here
from batchdeploy.stages.check_workers import check_workers

HERE = {
    "numpy": "2.4.6",
    "pandas": "2.3.3",
    "pyarrow": "25.0.1",
    "threadpoolctl": "3.8.0",
    "xgboost": "3.2.0",
}


def tools(*workers: dict[str, str], versions: str = "warn") -> Any:
    """A cluster whose workers have these packages, and a model that was made with XGBoost 3.2."""
    asked = tuple((f"host{number}", found) for number, found in enumerate(workers))
    return SimpleNamespace(
        registry=SimpleNamespace(package_versions=lambda _folder: {"xgboost": "3.2.0"}),
        engine=SimpleNamespace(
            inspect=lambda names, _check: tuple(
                WorkerReport(host, {name: version for name, version in found.items() if name in names})
                for host, found in asked
            )
        ),
        deployment=SimpleNamespace(engine=SimpleNamespace(versions=versions)),
    )


def check(made: Any, folder: Path) -> None:
    check_workers(made.registry, made.engine, folder, policy=made.deployment.engine.versions)


def test_workers_need_what_scoring_imports_whatever_the_model_names(tmp_path: Path) -> None:
    check(tools(HERE, versions="refuse"), tmp_path)
    poor = {name: version for name, version in HERE.items() if name != "threadpoolctl"}
    with pytest.raises(RequestError, match="host1: lacks threadpoolctl, which every worker needs") as refused:
        check(tools(HERE, poor), tmp_path)
    assert "pip install numpy pandas pyarrow threadpoolctl" in str(refused.value)


def test_a_package_counts_by_what_it_is_imported_as() -> None:
    """The tests' own environment has XGBoost by xgboost-cpu, which is imported as xgboost."""
    here = versions_here(["xgboost", "xgboost-cpu", "xgboost-gpu", "python", "no-such-package"])
    assert here["xgboost"] == here["xgboost-cpu"] == here["xgboost-gpu"] == metadata.version("xgboost-cpu")
    assert set(here) == {"xgboost", "xgboost-cpu", "xgboost-gpu", "python"}


def test_what_workers_lack_is_a_wrong_request(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"lacks xgboost; the model was made with 3.2.0"):
        check(tools({k: v for k, v in HERE.items() if k != "xgboost"}, versions="refuse"), tmp_path)
    with pytest.raises(RequestError, match=r"has another xgboost; .* got 2.0.0"):
        check(tools(HERE | {"xgboost": "2.0.0"}, versions="refuse"), tmp_path)
