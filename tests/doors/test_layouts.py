"""Layouts of the data: each gives the scores of the plain one, row by row, through the real command line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests_support import SCHEMA, Result, customers

DAY = "2024-03-02"
NULL = "__HIVE_DEFAULT_PARTITION__"


def rows(day: str) -> pa.Table:
    return pa.Table.from_pandas(customers(day), SCHEMA, preserve_index=False)


def write_by(columns: list[str], *, days: tuple[str, ...] = (DAY, "2024-03-03")) -> Callable[[Path], None]:
    """Writes each day in folders of these columns, by pyarrow, which escapes their values."""

    def apply(root: Path) -> None:
        data = root / "data" / "customers"
        shutil.rmtree(data)
        for day in days:
            table = rows(day).append_column("date", pa.array([day] * 200))
            pq.write_to_dataset(table, data, partition_cols=columns, basename_template=f"{day}-{{i}}.parquet")

    return apply


def without_ending(root: Path) -> None:
    for file in (root / "data" / "customers").glob("*/*.parquet"):
        file.rename(file.with_suffix(""))


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "a column above": write_by(["city", "date"]),
    "a column below": write_by(["date", "city"]),
    "two columns, one with nulls": write_by(["member", "date", "visits"]),
    "names without an ending": without_ending,
}


def scores(root: Path, folder: str = f"date={DAY}") -> pd.DataFrame:
    frame = pq.read_table(root / "scores" / "churn" / folder, partitioning=None).to_pandas()
    return frame.drop(columns=["_run_id", "_scored_at"]).sort_values("customer_id", ignore_index=True)


@pytest.fixture(scope="module")
def plain(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, with a day scored from the plain layout."""
    from batchdeploy.cli import main

    root = tmp_path_factory.mktemp("plain") / "project"
    shutil.copytree(template, root, ignore=shutil.ignore_patterns("mlartifacts"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["batchdeploy", "run", str(root / "dags" / "churn.yaml"), "-p", DAY])
        with pytest.raises(SystemExit) as end:
            main()
    assert not end.value.code
    return root


@pytest.mark.parametrize("arrange", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_layout_gives_the_same_scores(
    project: Path, cli: Callable[..., Result], plain: Path, arrange: Callable[[Path], None]
) -> None:
    arrange(project)
    done = cli("run", project / "dags" / "churn.yaml", "-p", DAY)
    assert done.code == 0, done.err
    pd.testing.assert_frame_equal(scores(project), scores(plain))
