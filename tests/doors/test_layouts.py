"""Layouts of the data: each gives the scores of the plain one, row by row, through the real command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from object_stores import s3_bucket
from tests_support import SCHEMA, Result, copy_project, customers, edit
from tests_support import published_scores as scores

from batchdeploy.assembly import open_toolbox
from batchdeploy.core.partition_names import escape, unescape
from batchdeploy.workflows.run import run as run_partition

pytestmark = pytest.mark.slow

DAYS = ("2024-03-01", "2024-03-02", "2024-03-03", "2024-03-04")
DAY = DAYS[1]
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


def write_files(**columns: Callable[[str], pa.Array]) -> Callable[[Path], None]:
    """Adds these columns to the files in the plain folders, by day."""

    def apply(root: Path) -> None:
        for file in (root / "data" / "customers").glob("*/*.parquet"):
            table = pq.read_table(file, partitioning=None)
            for name, values in columns.items():
                table = table.append_column(name, values(file.parent.name.partition("=")[2]))
            pq.write_table(table, file)

    return apply


def write_rows(
    convert: Callable[[pa.Array], pa.Array] = lambda days: days, *, statistics: bool = True, folders: str = ""
) -> Callable[[Path], None]:
    """Writes all days into three files without partition folders, in row groups that straddle days."""

    def apply(root: Path) -> None:
        data = root / "data" / "customers"
        shutil.rmtree(data)
        days = [rows(day).append_column("date", convert(pa.array([day] * 200))) for day in DAYS]
        even, odd = ([day.take([*range(start, 200, 2)]) for day in days] for start in (0, 1))
        for name, parts in {"even": even, "odd-1": odd[:2], "odd-2": odd[2:]}.items():
            file = data / folders / f"{name}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            table = pa.concat_tables(parts)
            pq.write_table(table, file, row_group_size=65, write_statistics=statistics)

    return apply


def as_date(days: pa.Array) -> pa.Array:
    return days.cast(pa.timestamp("s")).cast(pa.date32())


def at_noon(days: pa.Array) -> pa.Array:
    return pc.add(days.cast(pa.timestamp("us")), pa.scalar(12 * 3600 * 10**6, pa.duration("us")))


def same(days: str) -> pa.Array:
    return pa.array([days] * 200)


TYPED = "the partition column in the files as dates"
LAYOUTS: dict[str, Callable[[Path], None]] = {
    "a column above": write_by(["city", "date"]),
    "a column below": write_by(["date", "city"]),
    "two columns, one with nulls": write_by(["member", "date", "visits"]),
    "names without an ending": without_ending,
    "the partition column in the files as well": write_files(date=same),
    TYPED: write_files(date=lambda day: as_date(pa.array([day] * 200))),
    "a column of text": write_rows(),
    "a column of text without statistics": write_rows(statistics=False),
    "a column of text, as a dictionary": write_rows(lambda days: days.dictionary_encode()),
    "a column of dates": write_rows(as_date),
    "a column of timestamps": write_rows(at_noon),
    "a column of dates, in folders of another column": write_rows(as_date, folders="region=EU"),
}


@pytest.mark.parametrize("arrange", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_layout_gives_the_same_scores(
    project: Path, cli: Callable[..., Result], plain: Path, arrange: Callable[[Path], None]
) -> None:
    arrange(project)
    done = cli("run", project / "dags" / "churn.yaml", "-p", DAY)
    assert done.code == 0, done.err
    pd.testing.assert_frame_equal(scores(project), scores(plain))


@pytest.mark.parametrize(
    "name", ["two columns, one with nulls", "names without an ending", "a column of dates"]
)
def test_layouts_in_a_bucket_give_the_same_scores(
    project: Path, cli: Callable[..., Result], plain: Path, name: str, s3_port: int, store_credentials: None
) -> None:
    bucket, data = s3_bucket(s3_port), project / "data" / "customers"
    LAYOUTS[name](project)
    for file in data.rglob("*"):
        if file.is_file():
            bucket.put(f"lake/{file.relative_to(data).as_posix()}", file.read_bytes())
    shutil.rmtree(data)
    edit("path: data/customers", f"path: {bucket.uri}/lake")(project)
    endpoint = f"storage: {{endpoint: {bucket.storage.endpoint}, region: us-east-1}}"
    edit("engine: {kind: local}", f"engine: {{kind: local}}\n{endpoint}")(project)
    done = cli("run", project / "dags" / "churn.yaml", "-p", DAY)
    assert done.code == 0, done.err
    pd.testing.assert_frame_equal(scores(project), scores(plain))
    listed = cli("status", project / "dags" / "churn.yaml", "--json").json["partitions"]
    assert {row["partition"] for row in listed} >= {DAY, "2024-03-03"}


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One Spark engine for all tests of this file."""
    from spark_clusters import engine_on

    with engine_on("local", tmp_path_factory.mktemp("spark")) as engine:
        yield engine


def run_on(spark: Any, root: Path) -> None:
    """Runs the day on Spark, with the suite evaluated by Spark as well."""
    edit("kind: local", "kind: spark")(root)
    box = open_toolbox(root / "dags" / "churn.yaml")
    box.spark = spark
    box.reader.one_machine_cells = 0
    run_partition(box, DAY)


@pytest.mark.jvm
def test_every_layout_gives_the_same_scores_on_spark(
    spark: Any, template: Path, plain: Path, tmp_path: Path
) -> None:
    # Those that differ on Spark: constants by file, other types, rows selected by their values.
    for name in ("two columns, one with nulls", "names without an ending", "a column of timestamps", TYPED):
        root = tmp_path / name
        copy_project(template, root)
        LAYOUTS[name](root)
        run_on(spark, root)
        pd.testing.assert_frame_equal(scores(root), scores(plain), obj=name)


def quarantined(root: Path) -> pd.DataFrame:
    (folder,) = (root / "scores" / "churn.batchdeploy" / "quarantine" / f"date={DAY}").iterdir()
    return pq.read_table(folder, partitioning=None).to_pandas()


def test_rows_that_contradict_their_folder_are_quarantined(project: Path, cli: Callable[..., Result]) -> None:
    wrong = pa.array(["2024-03-09", None, *[DAY] * 198])
    write_files(date=lambda day: wrong if day == DAY else same(day))(project)
    done = cli("run", project / "dags" / "churn.yaml", "-p", DAY)
    assert done.code == 0, done.err
    found = quarantined(project)
    assert sorted(found["customer_id"]) == [f"{DAY}-0000", f"{DAY}-0001"]
    assert set(found["_reason"]) == {"not the folder's value: date"}
    assert len(scores(project)) == 198


def test_a_column_as_partition_counts_its_own_rows_alone(project: Path, cli: Callable[..., Result]) -> None:
    write_rows(as_date)(project)
    edit("  keys:", "  where: [{column: age, op: lt, value: 50}]\n  keys:")(project)
    done = cli("run", project / "dags" / "churn.yaml", "-p", DAY, "--json")
    assert done.code == 0, done.err
    young = int((customers(DAY)["age"] < 50).sum())
    (file,) = (project / "scores" / "churn.batchdeploy" / "runs" / f"date={DAY}").glob("*/scored.json")
    scored = json.loads(file.read_text())
    assert (scored["rows_in"], scored["rows_left_out"]) == (young, 200 - young)
    plan = json.loads(file.with_name("plan.json").read_text())
    assert [pinned["path"] for pinned in plan["data"]["files"]] == ["even.parquet", "odd-1.parquet"]
    assert sum(plan["schema"]["file_rows"]) == 200
    listed = cli("status", project / "dags" / "churn.yaml", "--json")
    assert [row["partition"] for row in listed.json["partitions"]] == list(DAYS)


def few_visits(root: Path) -> None:
    write_by(["visits", "date"])(root)
    folder = next((root / "data" / "customers").glob(f"*/date={DAY}")).parent
    folder.rename(folder.with_name("visits=few"))


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "no folder and no column": (
        edit("column: date", "column: day"), "data/customers, and no column day in the files",
    ),
    "a column that tells no partition": (
        write_rows(lambda days: pc.cast(pc.utf8_length(days), pa.float64())),
        "the column date of the files is not exact text, number, date or time, got double",
    ),
    "no such value": (
        write_rows(lambda days: pc.replace_substring(days, DAY, DAYS[0])), "no such partition",
    ),
    "a folder of another column beside it": (
        lambda root: (root / "data" / "customers" / "country=US" / f"date={DAY}").mkdir(parents=True),
        "country=US: is not a date=VALUE folder",
    ),
    "a value that the model does not take": (
        few_visits,
        "the folder's visits is no int64, which the model takes, got few",
    ),
    "a CSV without an ending": (
        lambda root: (root / "data" / "customers" / f"date={DAY}" / "notes").write_text("a,b") and None,
        f"date={DAY}/notes: not a Parquet file",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "expected"), BAD.values(), ids=BAD.keys())
def test_a_layout_that_cannot_be_read_is_named(
    project: Path, cli: Callable[..., Result], spoil: Callable[[Path], None], expected: str
) -> None:
    spoil(project)
    done = cli("run", project / "dags" / "churn.yaml", "-p", DAY)
    assert done.code == 2, done.err
    assert expected in done.err
    assert not (project / "scores" / "churn").exists()


@pytest.mark.parametrize("name", ["a%2Fb%20c", "a%2Fb c", "50%25 é", "t=05%3A00"])
def test_escaped_values_are_the_unescaped_ones_everywhere(
    project: Path, cli: Callable[..., Result], plain: Path, name: str
) -> None:
    data = project / "data" / "customers"
    value = unescape(name)
    (data / f"date={DAY}").rename(data / f"region={name}")
    for day in {*DAYS} - {DAY}:
        shutil.rmtree(data / f"date={day}")
    edit("column: date", "column: region")(project)
    file = project / "dags" / "churn.yaml"
    done = cli("run", file, "-p", value)
    assert done.code == 0, done.err
    (row,) = cli("status", file, "--json").json["partitions"]
    assert (row["partition"], row["state"]) == (value, "published")
    table = pq.read_table(project / "scores" / "churn", partitioning=ds.partitioning(flavor="hive"))
    assert set(table.column("region").to_pylist()) == {value}
    pd.testing.assert_frame_equal(scores(project, f"region={escape(value)}"), scores(plain))


@pytest.mark.jvm
def test_names_that_spark_writes_are_read(spark: Any, project: Path, plain: Path) -> None:
    from pyspark.sql import functions

    data, region = project / "data" / "customers", "a/b=c: 'ü' %20[x]"
    frame = spark._spark().read.parquet(str(data / f"date={DAY}"))
    frame = frame.withColumn("region", functions.lit(region)).withColumn("at", functions.lit(f"{DAY} 05:00"))
    frame.write.partitionBy("at", "region", "member").parquet(str(project / "written"))
    shutil.rmtree(data)
    (project / "written").rename(data)
    edit("column: date", "column: region")(project)
    tools = open_toolbox(project / "dags" / "churn.yaml")
    assert tools.source.partitions(tools.deployment.data) == (region,)
    run_partition(tools, region)
    (folder,) = (folder.name for folder in data.glob("at=*/region=*"))
    pinned = tools.source.pin(tools.deployment.data, region).files
    assert {column.value for file in pinned for column in file.path_columns} == {
        f"{DAY} 05:00", "true", "false", None,
    }  # fmt: skip
    # The folder of the scores has the name that Spark gives.
    pd.testing.assert_frame_equal(scores(project, folder), scores(plain))
