"""The example as a stranger meets it: `dvc repro` in a fresh clone, on real flights and real Spark."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import nbformat
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from airflow_runs import airflow, environment
from flights_projects import FORTNIGHT, repro
from nbclient import NotebookClient

pytestmark = [pytest.mark.jvm, pytest.mark.slow]

WEEK = [f"2013-02-{day:02d}" for day in range(1, 8)]


def shell(folder: Path, *words: str) -> str:
    """A command of this environment, in a folder."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def input_rows(root: Path, days: list[str]) -> pd.DataFrame:
    parts = [pd.read_parquet(root / "data" / "flights" / f"date={d}" / "part-0.parquet") for d in days]
    return pd.concat(parts, ignore_index=True)


def test_repro_makes_data_models_reference_scores_metrics_and_plots(flights: Path) -> None:
    assert len(list((flights / "data" / "flights").iterdir())) == 365
    assert (
        sum(pq.read_metadata(f).num_rows for f in (flights / "data" / "flights").rglob("*.parquet"))
        == 336_776
    )
    week = json.loads((flights / "data" / "scored" / "week.json").read_text())
    assert [run["partition"] for run in week] == WEEK
    assert len(input_rows(flights, WEEK)) == sum(run["rows"] for run in week)
    metrics = json.loads(shell(flights, "dvc", "metrics", "show", "--json"))[""]["data"]
    aucs = [values["data"]["auc"] for values in metrics.values() if "auc" in values["data"]]
    assert len(aucs) == 3
    assert 5 < metrics["data/models/hours.metrics.json"]["data"]["mean_absolute_error"] < 15
    assert all(0.6 < auc < 0.9 for auc in aucs)
    plots = json.loads(shell(flights, "dvc", "plots", "show", "--json"))
    assert len(plots["data"]) == 3
    assert shell(flights, "git", "status", "--porcelain").split() in (
        [],
        ["M", "dvc.lock"],
        ["??", "dvc.lock"],
    )


def test_the_data_are_what_the_readme_says(flights: Path) -> None:
    rows = input_rows(flights, FORTNIGHT)
    assert len(rows) == 12_222
    labels = pd.read_parquet(flights / "data" / "labels" / "flights.parquet")
    assert rows["flight_id"].is_unique
    assert not set(rows.columns) & {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "late"}
    share = labels["late"].fillna(False).astype(bool).groupby(labels["date"].str[:7]).mean()
    assert (round(share["2013-09"], 2), round(share["2013-12"], 2)) == (0.13, 0.31)
    assert labels["late"].isna().sum() == 9_430


def test_a_second_repro_does_nothing_and_a_parameter_only_what_depends_on_it(flights: Path) -> None:
    ran = re.findall(r"Running stage '(\w+)'", repro(flights))
    assert ran == ["pin"]
    params = flights / "params.yaml"
    before = params.read_text()
    try:
        params.write_text(before.replace('to: "2013-02-07"', 'to: "2013-02-06"'))
        assert re.findall(r"Running stage '(\w+)'", repro(flights)) == ["pin", "score"]
    finally:
        params.write_text(before)
        repro(flights)


def test_a_fortnight_on_spark_is_every_input_row_once_for_every_reader(flights: Path) -> None:
    words = ["dags/flights.yaml", "--from", FORTNIGHT[0], "--to", FORTNIGHT[-1], "--json"]
    done = json.loads(shell(flights, sys.executable, "-m", "batchdeploy", "backfill", *words))
    assert [p["manifest"]["partition"] for p in done["partitions"]] == FORTNIGHT
    given = input_rows(flights, FORTNIGHT)
    table = flights / "scores" / "flights"
    by_pandas = pd.read_parquet(table)
    assert len(by_pandas) == len(given) == 12_222
    assert set(by_pandas["flight_id"]) == set(given["flight_id"])
    glob = f"{table}/**/*.parquet"
    query = (
        "select count(*), count(distinct flight_id), sum(late_probability) "
        "from read_parquet(?, hive_partitioning=true)"
    )
    by_duckdb = duckdb.execute(query, [glob]).fetchone()
    by_polars = pl.scan_parquet(glob, hive_partitioning=True).collect()
    assert by_duckdb is not None
    assert by_duckdb[:2] == (12_222, 12_222)
    assert by_duckdb[2] == pytest.approx(by_pandas["late_probability"].sum())
    assert by_polars["late_probability"].sum() == pytest.approx(by_duckdb[2])
    code = (
        "from pyspark.sql import SparkSession as S, functions as F; s = S.builder.getOrCreate();"
        f"t = s.read.parquet({str(table)!r});"
        "print(*t.agg(F.count('*'), F.countDistinct('flight_id'), F.sum('late_probability')).first())"
    )
    rows, distinct, total = shell(flights, sys.executable, "-c", code).split()
    assert (int(rows), int(distinct)) == (12_222, 12_222)
    assert float(total) == pytest.approx(by_duckdb[2])


def test_each_score_is_what_mlflow_itself_gives(flights: Path) -> None:
    import mlflow

    scores = pd.read_parquet(flights / "scores" / "flights")
    assert set(scores["_model_version"]) == {1}
    given = input_rows(flights, sorted(set(scores["date"].astype(str)))).set_index("flight_id")
    given = given.loc[scores["flight_id"]]
    mlflow.set_tracking_uri(f"sqlite:///{flights / 'mlflow.db'}")
    model = mlflow.pyfunc.load_model("models:/flights-delay/1")
    frame = given[model.metadata.get_input_schema().input_names()]
    expected = model.predict(frame.where(frame.notna(), None).astype(frame.dtypes))[:, 1]
    assert np.abs(scores["late_probability"].to_numpy() - expected).max() <= 1e-9


def test_a_year_later_the_data_can_be_read_at_their_revision(flights: Path) -> None:
    """The committed dvc.lock pins every file of a partition by its MD5."""
    copy = flights / "dags" / "at-revision.yaml"
    text = (flights / "dags" / "flights.yaml").read_text()
    copy.write_text(text.replace("  keys:", "  rev: HEAD\n  keys:").replace("kind: spark", "kind: local"))
    shell(flights, "git", "add", "-A")
    shell(flights, "git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "lock")
    words = ("plan", "dags/at-revision.yaml", "--partition", "2013-02-08", "--json")
    plan = json.loads(shell(flights, sys.executable, "-m", "batchdeploy", *words))["plans"][0]
    assert plan["data"]["rev"] == shell(flights, "git", "rev-parse", "HEAD").strip()
    assert plan["data"]["tracked"] == "dvc"
    assert plan["state"] == "identical"
    copy.unlink()


def test_the_notebook_runs_and_meets_the_blizzard(flights: Path) -> None:
    notebook = nbformat.read(flights / "notebooks" / "blizzard.ipynb", as_version=4)
    client = NotebookClient(
        notebook,
        timeout=300,
        # With unbuffered Python, a kernel sends one print in several messages.
        coalesce_streams=True,
        resources={"metadata": {"path": str(flights / "notebooks")}},
    )
    client.execute()
    text = json.dumps(notebook.cells)
    assert "930 rows" in text
    assert "image/png" in text
    assert "plane_seats" in text


def test_the_committed_notebook_shows_its_outputs_and_nothing_of_a_machine() -> None:
    file = Path(__file__).parents[1] / "notebooks" / "blizzard.ipynb"
    text = file.read_text(encoding="utf-8")
    assert "image/png" in text
    assert not re.search(r"(/home|/root|/tmp|/Users|/mnt|/opt)/", re.sub(r'"image/png": "[^"]*"', "", text))


@pytest.fixture(autouse=True, scope="module")
def quiet_kernel() -> None:
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"


@pytest.mark.airflow
def test_each_dag_of_the_example_runs(flights: Path, tmp_path: Path) -> None:
    migrate = ["airflow", "db", "migrate"]
    subprocess.run(migrate, env=environment(tmp_path), check=True, capture_output=True)
    dags = flights / "dags"
    out = airflow(tmp_path, dags, '{"partition": "2013-03-01"}', "flights-delay")
    assert '"publish": "success"' in out
    out = airflow(tmp_path, dags, '{"partition": "2013-06-03"}', "departure-delay")
    assert '"publish": "success"' in out
    assert len(pd.read_parquet(flights / "scores" / "hours" / "week=2013-06-03")) > 300
    out = airflow(tmp_path, dags, '{"partition": "2013-03-02"}', "flights-delay-promotion")
    assert '"promote": "success"' in out
    assert "alias champion moved from version 1 to 2" in out
