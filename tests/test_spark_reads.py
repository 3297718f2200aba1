"""`engine.read: spark`: rows that Spark reads are scored, and quarantined, as those that workers read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from doors.test_layouts import LAYOUTS, write_files, write_rows
from tests_support import SCHEMA, customers, edit, text_array, write_day

from batchdeploy.adapters.engines.spark import SparkEngine
from batchdeploy.adapters.engines.spark.row_jobs import SparkRows
from batchdeploy.assembly import LocalToolbox, open_toolbox, records_in
from batchdeploy.core.deployment import DataRef, PartitionSpec
from batchdeploy.core.records import CheckReport, ScoredBatch
from batchdeploy.errors import BatchdeployError, DataError, PartitionError, RequestError, ScoringRefused
from batchdeploy.workflows.plan import plan as plan_partition
from batchdeploy.workflows.run import execute
from batchdeploy.workflows.run import run as run_partition

pytestmark = [pytest.mark.slow, pytest.mark.jvm]

DAY = "2024-03-02"
STAMPS = {"_model_version", "_run_id", "_scored_at"}
MORE = "quarantine: {max_share: 0.5}\n"
Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkEngine]:
    """One Spark engine with a warehouse of its own, for all tests of this file."""
    engine = SparkEngine("local[2]", {"spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse"))})
    yield engine
    engine.close()


def reading(root: Path, spark: SparkEngine, read: str) -> LocalToolbox:
    """The project's toolbox: with workers that read, on the local engine; or with Spark that reads."""
    file = root / "dags" / f"{read}.yaml"
    text = (root / "dags" / "churn.yaml").read_text(encoding="utf-8")
    text = text.replace("path: scores/churn", f"path: scores/{read}")
    if read == "spark":
        text = text.replace("kind: local", "kind: spark, read: spark, master: 'local[2]'")
    file.write_text(text, encoding="utf-8")
    box = open_toolbox(file)
    if read == "spark":
        box.spark = spark
        box.reader.one_machine_cells = 0
    return box


def written(box: LocalToolbox) -> tuple[Any, Any, Any]:
    """What a run of the day leaves: scores and quarantined rows in the order of their keys, and counts."""
    outcome = run_partition(box, DAY)
    rows = [pq.read_table(box.layout.partition_dir(f"date={DAY}") / f.path) for f in outcome.manifest.files]
    scored = pa.concat_tables(rows)
    scored = scored.select([name for name in scored.schema.names if name not in STAMPS])
    folder = box.layout.quarantine(f"date={DAY}", outcome.manifest.run_id)
    bad = pq.read_table(folder, partitioning=None).drop_columns(["_run_id"]) if folder.exists() else None
    found = records_in(outcome.folder).read("", ScoredBatch)
    counts = {
        name: getattr(found, name)
        for name in ("rows_in", "rows_left_out", "keys_in", "quarantined", "profile", "findings", "casts")
    }
    checks = records_in(outcome.folder).read("", CheckReport).results
    counts["checks"] = [(r.expectation, r.column, r.success, r.unexpected, r.evaluated) for r in checks]
    return comparable(scored), comparable(bad), counts


def assert_equal_counts(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Equal counts; moments but for their rounding, once for each batch, and the readers' batches differ."""
    moments = [[m for p in counts["profile"] for m in p.moments] for counts in (found, expected)]
    assert moments[0] == pytest.approx(moments[1], abs=16)
    plain = [
        counts | {"profile": [replace(p, moments=()) for p in counts["profile"]]}
        for counts in (found, expected)
    ]
    assert plain[0] == plain[1]


def comparable(table: Any) -> Any:
    """Types and rows, in no order, as text, because NaN does not equal NaN."""
    if table is None:
        return None
    kinds = {field.name: str(field.type) for field in table.schema}
    return kinds, sorted(map(str, table.to_pylist()))


def rows(number: int = 200) -> pa.Table:
    return pa.Table.from_pandas(customers(DAY, number), schema=SCHEMA, preserve_index=False)


def put(root: Path, *tables: pa.Table, names: tuple[str, ...] = (), **options: Any) -> None:
    """The day as these files."""
    folder = root / "data" / "customers" / f"date={DAY}"
    shutil.rmtree(folder)
    folder.mkdir()
    for number, table in enumerate(tables):
        name = names[number] if names else f"part-{number}.parquet"
        pq.write_table(table, folder / name, **options)


def with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.append_column(name, values) if place < 0 else table.set_column(place, name, values)


def bad_rows(root: Path) -> None:
    """Several files of several row groups; a null where the model wants none, in some of the rows."""
    table = rows(900)
    visits = pa.array([None if n % 100 == 7 else v for n, v in enumerate(table["visits"].to_pylist())])
    table = with_column(table, "visits", visits)
    put(root, *(table.slice(n * 300, 300) for n in range(3)), row_group_size=70)
    edit("drift:", MORE + "drift:")(root)


def many_types(root: Path) -> None:
    """Columns of all types that are kept: those that Spark has others for come back as they were."""
    table, number = rows(), 200
    whole = list(range(number))
    stamps = [1_700_000_000_123_456_000 + 1000 * n for n in whole]
    columns = {
        **{f"i{b}": pa.array([n % 100 for n in whole], f"int{b}") for b in (8, 16, 32, 64)},
        **{f"u{b}": pa.array([2**b - 1 - n for n in whole], f"uint{b}") for b in (8, 16, 32, 64)},
        "small": pa.array([Decimal(n) / 4 for n in whole], pa.decimal128(9, 2)),
        "large": pa.array([Decimal(n) / 4 for n in whole], pa.decimal128(38, 4)),
        "texts": pa.array([str(n) for n in whole], pa.large_string()),
        "named": pa.array([str(n % 3) for n in whole]).dictionary_encode(),
        "bytes": pa.array([bytes([n]) for n in whole]),
        "pair": pa.array([bytes([n, 1]) for n in whole], pa.binary(2)),
        "day": pa.array([date(1901, 2, 3)] * number),
        "old": pa.array([datetime(1501, 2, 3, 4, 5, 6)] * number, pa.timestamp("us")),
        **{
            f"t{u}": pa.array(stamps).cast(pa.timestamp("ns")).cast(pa.timestamp(u), safe=False)
            for u in ("ms", "us")
        },
        "tns": pa.array(stamps).cast(pa.timestamp("ns")),
        "zone": pa.array(stamps).cast(pa.timestamp("ns")).cast(pa.timestamp("us", "Europe/Zurich")),
        "fine": pa.array(stamps).cast(pa.timestamp("ns", "UTC")),
        "single": pa.array([n / 3 for n in whole], pa.float32()),
        "list": pa.array([[n, None] for n in whole], pa.list_(pa.uint8())),
        "struct": pa.array([{"a": n, "b": str(n)} for n in whole]),
        "a `b`.c": pa.array(whole),
    }
    for name, values in columns.items():
        table = table.append_column(name, values)
    put(root, table, version="2.6")
    kept = ", ".join(json.dumps(name) for name in columns)
    edit("keep: [city]", f"keep: [city, {kept}]")(root)


def inexact(root: Path) -> None:
    """Times of keys and kept columns that are finer than a microsecond, and texts that are not UTF-8."""
    table = rows()
    times = [10**18 + 1000 * n + (n % 50 == 3) for n in range(200)]
    table = with_column(table, "at", pa.array(times, pa.timestamp("ns")))
    cities = ["Z\udcfcrich" if n % 40 == 1 else "Bern" for n in range(200)]
    put(root, with_column(table, "city", text_array(cities)))
    edit("keep: [city]", "keep: [city, at]")(root)
    edit("drift:", MORE + "drift:")(root)


def casts(root: Path) -> None:
    """Declared casts, one value lost in each, before rows are compared."""
    table = rows()
    ages = ["unknown" if n == 3 else repr(age) for n, age in enumerate(table["age"].to_pylist())]
    table = with_column(table, "age", pa.array(ages))
    visits = [Decimal("1.5") if n == 9 else Decimal(v) for n, v in enumerate(table["visits"].to_pylist())]
    table = with_column(table, "visits", pa.array(visits, pa.decimal128(21, 2)))
    seen = pa.array([10**18 + n for n in range(200)], pa.timestamp("ns"))
    put(root, with_column(table, "seen", seen))
    where = "where: [{column: age, op: ge, value: 40}]"
    edit("  keys:", f"  casts: {{age: double, visits: long, seen: timestamp}}\n  {where}\n  keys:")(root)
    edit("drift:", MORE + "drift:")(root)


def lookups(root: Path) -> None:
    """Columns of another table, of which some keys have no row."""
    table = rows()
    put(root, table.drop_columns(["income", "visits"]))
    visits = table["visits"].cast(pa.uint32())
    known = with_column(table.select(["customer_id", "income"]), "visits", visits)
    known = with_column(known, "seen", pa.array([date(2024, 3, 1)] * 200)).slice(0, 190)
    later = with_column(known, "income", pa.array([-1.0] * 190))
    later = with_column(later, "seen", pa.array([date(2024, 3, 3)] * 190))
    pq.write_table(pa.concat_tables([known, later]), root / "data" / "profiles.parquet")
    lookup = "keys: [customer_id], columns: [income, visits], as_of: seen"
    edit("  keys:", f"  lookups: [{{path: data/profiles.parquet, {lookup}}}]\n  keys:")(root)
    edit("drift:", MORE + "drift:")(root)


def duplicates(root: Path) -> None:
    """Keys that occur twice, in a file and across files; null keys; one twice among excluded rows only."""
    ids = rows(600)["customer_id"].to_pylist()
    ids[5], ids[450], ids[7], ids[8], ids[9] = ids[6], ids[100], None, None, ids[10]
    ages = rows(600)["age"].to_pylist()
    ages[9] = 20.0
    table = with_column(with_column(rows(600), "customer_id", pa.array(ids)), "age", pa.array(ages))
    put(root, table.slice(0, 300), table.slice(300), row_group_size=100)
    edit("  keys:", "  where: [{column: age, op: gt, value: 20}]\n  keys:")(root)
    edit("drift:", MORE + "drift:")(root)
    suite = root / "expectations" / "customers.json"
    entries = json.loads(suite.read_text(encoding="utf-8"))
    entries["expectations"] = entries["expectations"][1:]
    suite.write_text(json.dumps(entries), encoding="utf-8")


def names(root: Path) -> None:
    """Names that Spark takes for patterns, or escapes; a bad row in each file."""
    table = with_column(rows(), "visits", pa.array([None, *rows()["visits"].to_pylist()[1:]]))
    given = ("a b.parquet", "per%cent", "ü", "br[ack]{et}*.parquet", "plus+#?.parquet", "c&d=e%2F.parquet")
    parts = [with_column(table, "customer_id", pa.array([f"{n}-{i}" for i in range(200)])) for n in range(6)]
    put(root, *parts, names=given)
    edit("drift:", MORE + "drift:")(root)


def contradictions(root: Path) -> None:
    """Rows with another value than their folder's."""
    wrong = pa.array(["2024-03-09", None, *[DAY] * 198])
    write_files(date=lambda day: wrong if day == DAY else pa.array([day] * 200))(root)
    edit("drift:", MORE + "drift:")(root)


def nanoseconds(root: Path) -> None:
    """A column of nanoseconds tells the partition, which Spark has as integers; where excludes rows."""
    write_rows(lambda days: days.cast(pa.timestamp("ns")))(root)
    edit("  keys:", "  where: [{column: age, op: lt, value: 50}]\n  keys:")(root)


CASES: dict[str, Change] = {
    "bad rows in several files": bad_rows,
    "columns of all types": many_types,
    "inexact times and broken texts": inexact,
    "casts": casts,
    "lookups": lookups,
    "duplicate keys": duplicates,
    "names of files": names,
    "rows that contradict their folder": contradictions,
    "a column of nanoseconds": nanoseconds,
    **{
        name: LAYOUTS[name]
        for name in (
            "two columns, one with nulls",
            "the partition column in the files as dates",
            "a column of text, as a dictionary",
            "a column of dates, in folders of another column",
            "a column of timestamps",
        )
    },
}


@pytest.mark.parametrize("arrange", CASES.values(), ids=CASES.keys())
def test_rows_are_scored_and_quarantined_as_workers_that_read_do(
    project: Path, spark: SparkEngine, arrange: Change
) -> None:
    arrange(project)
    expected = written(reading(project, spark, "splits"))
    found = written(reading(project, spark, "spark"))
    assert found[0] == expected[0]
    assert found[1] == expected[1]
    assert_equal_counts(found[2], expected[2])


def test_memory_that_runs_out_is_met_by_smaller_batches(
    project: Path, spark: SparkEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(project, rows(2_000))
    box = reading(project, spark, "spark")
    asked, run = [], SparkRows.map

    def scarce(self: SparkRows, handed: Any, work: Any, *, batch_rows: int) -> Any:
        asked.append(batch_rows)
        if batch_rows > 1_024:
            raise MemoryError
        return run(self, handed, work, batch_rows=batch_rows)

    monkeypatch.setattr(SparkRows, "map", scarce)
    assert run_partition(box, DAY).manifest.rows_scored == 2_000
    assert asked == [65_536, 8_192, 1_024]


def flip(file: Path) -> None:
    """Spoils a bit in a page of a column."""
    pq.write_table(pq.read_table(file, partitioning=None), file, write_page_checksum=True, compression="none")
    column = pq.read_metadata(file).row_group(0).column(2)
    raw = bytearray(file.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    raw[start + column.total_compressed_size - 20] ^= 0xFF
    file.write_bytes(raw)


def test_a_flipped_bit_is_found_and_names_its_file(project: Path, spark: SparkEngine) -> None:
    flip(project / "data" / "customers" / f"date={DAY}" / "part-0.parquet")
    edit("expectations: expectations/customers.json\n", "")(project)
    box = reading(project, spark, "spark")
    with pytest.raises(RequestError, match=r"part-0\.parquet: its pages cannot be read"):
        run_partition(box, DAY)
    assert not box.layout.table.exists()


@pytest.mark.parametrize("when", ["before", "while"])
def test_a_file_that_changes_is_named_and_nothing_published(
    project: Path, spark: SparkEngine, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    box, run = reading(project, spark, "spark"), SparkRows.map
    planned = plan_partition(box, DAY)

    def change() -> None:
        write_day(project / "data" / "customers", DAY, customers(DAY).assign(age=50.0))

    def changing(self: SparkRows, handed: Any, work: Any, *, batch_rows: int) -> Any:
        change()
        return run(self, handed, work, batch_rows=batch_rows)

    if when == "before":
        change()
    else:
        monkeypatch.setattr(SparkRows, "map", changing)
    with pytest.raises(DataError, match=r"part-0\.parquet: changed (since it was pinned|while it was read)"):
        execute(box, planned)
    assert not box.layout.table.exists()
    assert not [*box.layout.staging.glob("*")]


def test_int96_is_read_where_spark_wrote_it_and_else_refused(project: Path, spark: SparkEngine) -> None:
    folder = project / "data" / "customers" / f"date={DAY}"
    times = pa.array([datetime(2024, 3, 1, 5)] * 200, pa.timestamp("us"))
    put(project, with_column(rows(), "at", times), use_deprecated_int96_timestamps=True)
    edit("keep: [city]", "keep: [city, at]")(project)
    box = reading(project, spark, "spark")
    with pytest.raises(DataError, match="column at: Spark truncates times that are finer"):
        run_partition(box, DAY)
    session = spark.session
    session.conf.set("spark.sql.parquet.outputTimestampType", "INT96")
    try:
        frame = session.read.parquet(str(folder / "part-0.parquet"))
        frame.coalesce(1).write.mode("overwrite").parquet(str(project / "by-spark"))
    finally:
        session.conf.unset("spark.sql.parquet.outputTimestampType")
    shutil.rmtree(folder)
    folder.mkdir()
    for file in (project / "by-spark").glob("*.parquet"):
        shutil.copy(file, folder)
    found, expected = written(reading(project, spark, "spark")), written(reading(project, spark, "splits"))
    assert found[:2] == expected[:2]
    assert_equal_counts(found[2], expected[2])


def test_a_refusal_in_a_task_arrives_as_it_was_raised(project: Path, spark: SparkEngine) -> None:
    table = rows()
    put(project, with_column(table, "visits", pa.array([None, *table["visits"].to_pylist()[1:]])))
    edit("drift:", "policy: {null: fail}\ndrift:")(project)
    with pytest.raises(ScoringRefused, match="null"):
        run_partition(reading(project, spark, "spark"), DAY)


# Tables of the catalog.


@pytest.fixture(scope="module")
def lake(spark: SparkEngine, template: Path) -> Any:
    """The days of the project as tables of several kinds, in a schema of their own."""
    session = spark.session
    session.sql("CREATE SCHEMA IF NOT EXISTS lake")
    folder = template / "data" / "customers"
    days = [file.parent.name.partition("=")[2] for file in sorted(folder.glob("*/*.parquet"))]
    frame = None
    from pyspark.sql import functions

    for day in days:
        one = session.read.parquet(str(folder / f"date={day}")).withColumn("date", functions.lit(day))
        frame = one if frame is None else frame.unionByName(one)
    frame = frame.repartition(2).persist()
    typed = frame.withColumn("date", functions.to_date("date"))
    timed = frame.withColumn("date", functions.expr("CAST(date AS timestamp_ntz) + interval '23' hours"))
    frame.write.partitionBy("date").saveAsTable("lake.parts")
    typed.write.bucketBy(3, "customer_id").sortBy("customer_id").saveAsTable("lake.buckets")
    typed.write.partitionBy("date", "city").saveAsTable("lake.levels")
    timed.write.saveAsTable("lake.times")
    frame.write.format("orc").saveAsTable("lake.orcs")
    frame.write.format("json").partitionBy("date").saveAsTable("lake.jsons")
    session.sql("CREATE VIEW lake.chosen AS SELECT * FROM lake.parts WHERE age > 0")
    session.sql(
        "CREATE VIEW lake.made AS SELECT string(id) AS customer_id, '2024-03-02' AS date FROM range(9)"
    )
    joined = "SELECT a.* EXCEPT (city), b.city FROM lake.parts AS a JOIN lake.orcs AS b USING (customer_id)"
    session.sql(f"CREATE VIEW lake.joined AS {joined}")
    yield session
    frame.unpersist()


def at_table(root: Path, name: str) -> None:
    edit("path: data/customers", f"path: {name}\n  format: catalog")(root)
    # Times without a zone are taken as they are.
    edit("partition: {column: date}", "partition: {column: date, timezone: Europe/Zurich}")(root)


TABLES = (
    "lake.parts",
    "spark_catalog.lake.buckets",
    "lake.levels",
    "lake.times",
    "lake.orcs",
    "lake.jsons",
    "lake.chosen",
    "lake.joined",
)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_the_catalog_is_scored_as_the_same_rows_in_files(
    project: Path, plain: Path, spark: SparkEngine, lake: Any, name: str
) -> None:
    at_table(project, name)
    found = written(reading(project, spark, "spark"))
    expected = pq.read_table(plain / "scores" / "churn" / f"date={DAY}", partitioning=None)
    expected = expected.select([name for name in expected.schema.names if name not in STAMPS])
    assert found[0] == comparable(expected)
    assert found[2]["rows_in"] == 200
    assert all(success for *_, success, _, _ in found[2]["checks"][:2])
    box = reading(project, spark, "spark")
    assert box.source.partitions(box.deployment.data) == tuple(f"2024-03-0{n}" for n in range(1, 5))
    assert plan_partition(box, DAY).state == "identical"


@pytest.mark.parametrize("value", ["a:b", "c d", "p%3Aq", "ü#?"])
def test_a_partition_whose_folder_is_escaped_is_pinned(spark: SparkEngine, lake: Any, value: str) -> None:
    frame = lake.createDataFrame([("1", value)], "id string, k string")
    frame.write.mode("overwrite").partitionBy("k").saveAsTable("lake.escaped")
    ref = DataRef(path="lake.escaped", partition=PartitionSpec(column="k"), keys=("id",), format="catalog")
    pin = spark.catalog.pin(ref, value)
    assert [file.rows for file in pin.files] == [1]
    assert list(spark.rows.table(pin, 1).numbers.values()).count(pin.files[0].location) >= 1
    assert not spark.catalog.changes(ref, value, pin)


def test_rows_of_a_table_are_quarantined_with_their_file_and_row_where_spark_tells_them(
    project: Path, spark: SparkEngine, lake: Any
) -> None:
    from pyspark.sql import functions

    lost = functions.when(functions.col("age") < 60, functions.col("visits")).alias("visits")
    kept = [column for column in lake.table("lake.parts").columns if column != "visits"]
    frame = lake.table("lake.parts").select(*kept, lost)
    frame.write.mode("overwrite").partitionBy("date").saveAsTable("lake.gaps")
    frame.write.mode("overwrite").format("orc").saveAsTable("lake.gaps_orc")
    lake.sql("CREATE OR REPLACE VIEW lake.gaps_seen AS SELECT * FROM lake.gaps")
    edit("drift:", MORE.replace("0.5", "1") + "drift:")(project)
    deployment = (project / "dags" / "churn.yaml").read_text(encoding="utf-8")
    for name, told in {"lake.gaps": True, "lake.gaps_orc": False, "lake.gaps_seen": False}.items():
        text = deployment.replace("path: scores/churn", f"path: scores/churn-{name}")
        (project / "dags" / "churn.yaml").write_text(text, encoding="utf-8")
        at_table(project, name)
        box = reading(project, spark, "spark")
        manifest = run_partition(box, DAY).manifest
        folder = box.layout.quarantine(f"date={DAY}", manifest.run_id)
        found = pq.read_table(folder, partitioning=None).to_pylist()
        assert len(found) == manifest.rows_quarantined == int((customers(DAY)["age"] >= 60).sum())
        for row in found:
            assert (row["_source_row"] is not None) == told
            if told:
                held = pq.read_table(row["_source_file"], partitioning=None)
                assert held["customer_id"][row["_source_row"]].as_py() == row["customer_id"]
            else:
                assert Path(row["_source_file"]).is_file()


def test_what_is_added_to_a_table_after_the_plan_is_found_before_publishing(
    project: Path, spark: SparkEngine, lake: Any
) -> None:
    lake.table("lake.parts").write.mode("overwrite").partitionBy("date").saveAsTable("lake.grows")
    at_table(project, "lake.grows")
    edit("expectations: expectations/customers.json\n", "")(project)
    box = reading(project, spark, "spark")
    planned = plan_partition(box, DAY)
    lake.table("lake.parts").limit(1).write.mode("append").insertInto("lake.grows")
    box.source.changes(box.deployment.data, DAY, planned.data)
    lake.table("lake.parts").where(f"date = '{DAY}'").limit(1).write.mode("append").insertInto("lake.grows")
    with pytest.raises(DataError, match="added"):
        execute(box, planned)
    assert not box.layout.table.exists()


def test_a_table_gets_the_columns_of_lookups(
    project: Path, plain: Path, spark: SparkEngine, lake: Any
) -> None:
    known = rows().select(["customer_id", "income"])
    pq.write_table(known, project / "data" / "profiles.parquet")
    lake.sql("CREATE OR REPLACE VIEW lake.less AS SELECT * EXCEPT (income) FROM lake.parts")
    at_table(project, "lake.less")
    lookup = "{path: data/profiles.parquet, keys: [customer_id], columns: [income]}"
    edit("  keys:", f"  lookups: [{lookup}]\n  keys:")(project)
    found = written(reading(project, spark, "spark"))
    expected = pq.read_table(plain / "scores" / "churn" / f"date={DAY}", partitioning=None)
    assert found[0] == comparable(expected.select([n for n in expected.schema.names if n not in STAMPS]))


def test_a_number_that_no_column_holds_is_no_partition(spark: SparkEngine, lake: Any) -> None:
    ref = DataRef(path="lake.parts", partition=PartitionSpec(column="visits"), keys=("customer_id",))
    with pytest.raises(PartitionError, match="no such partition"):
        spark.catalog.pin(ref, str(1 << 63))


REFUSED: dict[str, tuple[Change, str, str]] = {
    "no such table": (lambda root: at_table(root, "lake.nothing"), DAY, "has no such table"),
    "no such schema": (lambda root: at_table(root, "nowhere.nothing"), DAY, "has no such table"),
    "no such catalog": (lambda root: at_table(root, "nothing.nowhere.nothing"), DAY, "has no such table"),
    "no such partition": (
        lambda root: at_table(root, "lake.parts"),
        "2024-04-01",
        "no such partition, got 2024-04-01",
    ),
    "no such column": (
        lambda root: (at_table(root, "lake.parts"), edit("column: date,", "column: day,")(root))[0],
        DAY,
        "the table has no such column, got day",
    ),
    "rows without files": (lambda root: at_table(root, "lake.made"), DAY, "Spark names no files of it"),
}


@pytest.mark.parametrize(("change", "day", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_table_that_cannot_be_pinned_is_refused(
    project: Path, spark: SparkEngine, lake: Any, change: Change, day: str, message: str
) -> None:
    change(project)
    with pytest.raises(RequestError, match=message) as caught:
        run_partition(reading(project, spark, "spark"), day)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("scheme", ["s3", "abfss", "gs"])
def test_without_the_jar_of_a_store_its_files_are_refused(spark: SparkEngine, scheme: str) -> None:
    from batchdeploy.core.pins import DataPin, FilePin

    file = FilePin(path="a.parquet", md5="", size=1, location=f"{scheme}://lake/a.parquet")
    pin = DataPin(path=f"{scheme}://lake", rev=None, tracked="plain", digest="", files=(file,))
    with pytest.raises(BatchdeployError, match="lacks the jar of the filesystem") as caught:
        spark.rows.files(pin, 1)
    assert caught.value.exit_code == 2
    assert "engine.read: splits" in str(caught.value)
