"""Delta and Iceberg tables: the scores of their rows at a version, through the real command line."""

from __future__ import annotations

import datetime
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from lakehouse_tables import iceberg_catalog
from ruamel.yaml import YAML
from tests_support import SCHEMA, Result, customers, edit, published_scores

pytestmark = pytest.mark.slow

DAY, NEXT = "2024-03-02", "2024-03-03"


def rows(day: str) -> pa.Table:
    """A day's rows, with the partition column as a date."""
    table = pa.Table.from_pandas(customers(day), SCHEMA, preserve_index=False)
    days = pa.array([datetime.date.fromisoformat(day)] * table.num_rows, pa.date32())
    return table.append_column("date", days)


def configure(root: Path, **data: Any) -> Path:
    """Changes ``data`` of the deployment; returns the file."""
    file = root / "dags" / "churn.yaml"
    yaml = YAML()
    document = yaml.load(file)
    document["data"].update(data)
    yaml.dump(document, file)
    return file


class Delta:
    """A Delta table of two days."""

    format = "delta"

    def __init__(self, root: Path, by: tuple[str, ...] = ("date",)) -> None:
        self._path, self._by = str(root / "lake"), list(by)
        self.append(pa.concat_tables([rows(DAY), rows(NEXT)]))
        self.first = 0

    def path(self) -> str:
        return "lake"

    def append(self, table: pa.Table) -> None:
        from deltalake import write_deltalake

        write_deltalake(self._path, table, mode="append", partition_by=self._by)

    def delete(self, condition: str) -> None:
        from deltalake import DeltaTable

        DeltaTable(self._path).delete(condition)


class Iceberg:
    """An Iceberg table of two days, in a SQLite catalog."""

    format = "iceberg"

    def __init__(self, root: Path, by: tuple[str, ...] = ("date",)) -> None:
        catalog = iceberg_catalog(root / "lake")
        table = pa.concat_tables([rows(DAY), rows(NEXT)])
        self._table = catalog.create_table("crm.customers", schema=table.schema)
        with self._table.update_spec() as spec:
            for column in by:
                spec.add_identity(column)
        self.append(table)
        self.first = self._table.current_snapshot().snapshot_id

    def path(self) -> str:
        return str(self._table.metadata_location.removeprefix("file://"))

    def append(self, table: pa.Table) -> None:
        self._table.append(table)

    def delete(self, condition: str) -> None:
        self._table.delete(condition)


@pytest.fixture(params=[Delta, Iceberg], ids=["delta", "iceberg"])
def table(request: pytest.FixtureRequest, project: Path) -> Any:
    return request.param(project)


@pytest.fixture
def run(project: Path, cli: Callable[..., Result]) -> Callable[..., pd.DataFrame]:
    """Scores a day with ``data`` changed, and returns the scores."""

    def call(day: str = DAY, **data: Any) -> pd.DataFrame:
        done = cli("run", configure(project, **data), "-p", day)
        assert done.code == 0, done.err
        return published_scores(project, f"date={day}")

    return call


def test_a_table_gives_the_scores_of_plain_parquet(
    table: Any, run: Callable[..., pd.DataFrame], project: Path, cli: Callable[..., Result]
) -> None:
    plain = [run(DAY), run(NEXT)]
    shutil.rmtree(project / "data" / "customers")
    given = {"path": table.path(), "format": table.format}
    for day, expected in zip((DAY, NEXT), plain, strict=True):
        pd.testing.assert_frame_equal(run(day, **given), expected)
    found = cli("status", project / "dags" / "churn.yaml", "--json")
    assert {DAY, NEXT} <= set(re.findall(r"2024-03-\d\d", found.out))
    done = cli("run", project / "dags" / "churn.yaml", "-p", "2024-03-09")
    assert done.code == 2, done.err
    assert "no such partition, got 2024-03-09" in done.err
    assert f"there are 2 from {DAY} to {NEXT}" in done.err


@pytest.mark.parametrize("kind", [Delta, Iceberg])
@pytest.mark.parametrize(
    "by", [(), ("city", "date"), ("member",)], ids=["nothing", "city and date", "member"]
)
def test_a_table_may_be_partitioned_by_other_columns(
    kind: Any, by: tuple[str, ...], run: Callable[..., pd.DataFrame], project: Path
) -> None:
    plain = run(NEXT)
    table = kind(project, by)
    pd.testing.assert_frame_equal(run(NEXT, path=table.path(), format=table.format), plain)


def test_an_old_version_has_the_old_rows_after_a_delete_and_an_update(
    table: Any, run: Callable[..., pd.DataFrame], project: Path
) -> None:
    old = run(path=table.path(), format=table.format)
    gone, changed = old.customer_id[0], old.customer_id[1]
    table.delete(f"customer_id in ('{gone}', '{changed}')")
    everyone = rows(DAY)
    moved = everyone.filter(pc.equal(everyone["customer_id"], changed))
    index = moved.schema.get_field_index("age")
    table.append(moved.set_column(index, "age", pa.array([99.0], moved.schema.field("age").type)))
    new = run(path=table.path())
    assert gone not in set(new.customer_id)
    assert len(new) == len(old) - 1
    pd.testing.assert_frame_equal(run(path=table.path(), rev=table.first), old)
    assert not new.set_index("customer_id").loc[changed].equals(old.set_index("customer_id").loc[changed])
    pins = [json.loads(file.read_text())["data"] for file in project.rglob("plan.json")]
    assert {pin["tracked"] for pin in pins} == {table.format}
    assert str(table.first) in {pin["rev"] for pin in pins}


def test_a_version_whose_files_were_removed_is_refused_by_name(
    table: Any, project: Path, cli: Callable[..., Result]
) -> None:
    configure(project, path=table.path(), format=table.format)
    for file in (project / "lake").rglob("*.parquet"):
        if f"date={DAY}" in str(file):
            file.unlink()
    done = cli("run", project / "dags" / "churn.yaml", "-p", DAY)
    assert done.code == 2
    assert "is gone: the version was vacuumed or expired" in done.err
    assert not (project / "scores").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"format": "delta", "rev": "HEAD"}, "data.rev: is not the version of a Delta table"),
        ({"rev": 1234567}, "data.rev: is not a git revision; quote it"),
        ({"format": "delta", "fetch": True}, "data.fetch: is of DVC, and data.format is delta"),
        ({"path": "s3://lake/x", "rev": "HEAD"}, "data.rev: is of DVC, and data.path is an object store's"),
        ({"path": "s3://lake/x", "fetch": True}, "data.fetch: is of DVC, and data.path is an object store's"),
        ({"path": "hdfs://node/x"}, "data.path: HDFS is not read; mount it, or use its S3 gateway"),
        ({"format": "orc"}, "data.format"),
        ({"format": "catalog"}, "data.format: catalog needs engine: {kind: spark, read: spark}"),
        ({"format": "catalog", "path": "lake/x"}, "data.path: is not the name of a table"),
        ({"format": "catalog", "rev": 3}, "data.rev: is not known to data.format: catalog"),
        ({"format": "delta"}, "there is no Delta table"),
        ({"format": "iceberg"}, "there is no Iceberg table"),
    ],
)
def test_a_wrong_table_is_refused(
    data: dict[str, Any], message: str, project: Path, cli: Callable[..., Result]
) -> None:
    done = cli("run", configure(project, **data), "-p", DAY)
    assert done.code == 2
    assert message in done.err


def test_only_spark_can_be_the_reader(project: Path, cli: Callable[..., Result]) -> None:
    edit("kind: local", "kind: local, read: spark")(project)
    done = cli("run", project / "dags" / "churn.yaml", "-p", DAY)
    assert done.code == 2
    assert "engine.read: is Spark's, and engine.kind is local" in done.err
