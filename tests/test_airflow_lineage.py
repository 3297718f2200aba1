"""Airflow's door: the datasets that tasks tell OpenLineage of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize(
    ("path", "namespace", "name"),
    [
        ("data/customers", "file", "/srv/project/data/customers"),
        ("/lake/customers", "file", "/lake/customers"),
        ("file:///lake/customers", "file", "/lake/customers"),
        ("s3://lake/customers/", "s3://lake", "customers"),
        ("s3a://lake/a/b", "s3://lake", "a/b"),
        ("gs://lake", "gs://lake", "/"),
        ("abfss://lake@acct.dfs.core.windows.net/a", "abfss://lake@acct.dfs.core.windows.net", "a"),
    ],
)
def test_a_dataset_is_named_as_openlineage_names_it(path: str, namespace: str, name: str) -> None:
    from batchdeploy.airflow.lineage import name_dataset

    found = name_dataset(path, Path("/srv/project"))
    assert (found.namespace, found.name) == (namespace, name)


@pytest.mark.parametrize("kind", ["catalog", "iceberg"])
def test_a_table_of_a_catalog_is_no_folder(deployment: Path, kind: Any) -> None:
    from batchdeploy.airflow import ScoringDag
    from batchdeploy.airflow.lineage import LineageDataset

    task = ScoringDag(str(deployment)).get_task("score")
    task.spec = replace(task.spec, data=replace(task.spec.data, path="crm.customers", format=kind))
    assert task.lineage("data") == LineageDataset(namespace=kind, name="crm.customers")


def test_tasks_tell_what_they_read_and_write(
    project: Path, deployment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from batchdeploy.airflow import RollbackDag, ScoringDag
    from batchdeploy.airflow.lineage import LineageOperator

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://user:pass@mlflow.example.org")
    dag, one = ScoringDag(str(deployment)), ScoringDag(str(deployment), tasks="one")
    tasks = {task.task_id: task for made in (dag, one, RollbackDag(str(deployment))) for task in made.tasks}
    told = {name: (t.reads, t.writes) for name, t in tasks.items() if isinstance(t, LineageOperator)}
    assert told == {
        "validate": (("data",), ()),
        "score": (("data", "model"), ()),
        "publish": (("data", "model"), ("scores",)),
        "run": (("data", "model"), ("scores",)),
        "rollback": ((), ("scores",)),
    }
    publish = tasks["publish"]
    publish.pinned_model = ("churn", 7)
    model, scores = publish.lineage("model"), publish.lineage("scores")
    assert (model.namespace, model.name, model.version) == ("https://mlflow.example.org", "models/churn", "7")
    assert (scores.namespace, scores.name) == ("file", str(project / "scores" / "churn"))
