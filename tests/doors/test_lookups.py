"""Feature lookups through the real command line: each gives the scores of the rows that hold the columns."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from dvc_projects import clone, commit, init, set_remote
from object_stores import Bucket, s3_bucket
from tests_support import SCHEMA, Result, customers, edit
from tests_support import published_scores as scores

from batchdeploy.workflows import run_steps

pytestmark = pytest.mark.slow

DAYS = ("2024-03-01", "2024-03-02", "2024-03-03", "2024-03-04")
DAY = DAYS[1]
LOOKED_UP = ["income", "visits", "city"]
TABLE = "data/profiles.parquet"
LOOKUP = f"{{path: {TABLE}, keys: [customer_id], columns: [income, visits, city]}}"


def profiles() -> pa.Table:
    """The columns that are looked up, of all customers."""
    days = [pa.Table.from_pandas(customers(day), SCHEMA, preserve_index=False) for day in DAYS]
    return pa.concat_tables(days).select(["customer_id", *LOOKED_UP])


def declare(lookup: str) -> Callable[[Path], None]:
    return edit("  keys:", f"  lookups: [{lookup}]\n  keys:")


def split_off(root: Path) -> None:
    """Takes the columns out of the rows, and declares a lookup of them."""
    for file in (root / "data" / "customers").glob("*/*.parquet"):
        pq.write_table(pq.read_table(file, partitioning=None).drop_columns(LOOKED_UP), file)
    declare(LOOKUP)(root)
    pq.write_table(profiles(), root / TABLE)


def since(times: list[Any], kind: pa.DataType, *, zone: str | None = None) -> Callable[[Path], None]:
    """Gives each customer a row of nonsense before, the right one, and one of nonsense after the day."""

    def apply(root: Path) -> None:
        split_off(root)
        right = profiles()
        wrong = right.set_column(1, "income", pa.repeat(1.0, len(right)))
        wrong = wrong.set_column(3, "city", pa.repeat("Nowhere", len(right)))
        parts = [
            table.append_column("since", pa.repeat(pa.scalar(time, kind), len(right)))
            for table, time in zip((wrong, right, wrong), times, strict=True)
        ]
        pq.write_table(pa.concat_tables(parts[::-1]), root / TABLE)
        edit("city]}]", "city], as_of: since}]")(root)
        if zone is not None:
            edit("{column: date}", f"{{column: date, timezone: {zone}}}")(root)

    return apply


def in_a_folder(root: Path) -> None:
    split_off(root)
    table, folder = profiles(), (root / TABLE).with_suffix("")
    folder.mkdir()
    for number in range(3):
        part = table.take([*range(number, len(table), 3)])
        pq.write_table(part, folder / f"part-{number}.parquet", row_group_size=50)
    (root / TABLE).unlink()
    edit(TABLE, TABLE.removesuffix(".parquet"))(root)


def renamed(root: Path) -> None:
    split_off(root)
    pq.write_table(profiles().rename_columns(["id", "Income", "n", "town"]), root / TABLE)
    keys, columns = "keys: {customer_id: id}", "columns: {income: Income, visits: n, city: town}"
    edit(LOOKUP, f"{{path: {TABLE}, {keys}, {columns}}}")(root)


def cast_after(root: Path) -> None:
    split_off(root)
    table = profiles()
    visits = table.column("visits").cast(pa.decimal128(20, 0))
    pq.write_table(table.set_column(2, "visits", visits), root / TABLE)
    edit("  keys:", "  casts: {visits: long}\n  keys:")(root)


def two_tables(root: Path) -> None:
    split_off(root)
    pq.write_table(profiles().drop_columns(["visits"]), root / TABLE)
    pq.write_table(profiles().select(["customer_id", "visits"]), root / "data" / "visits.parquet")
    other = "{path: data/visits.parquet, keys: [customer_id], columns: [visits]}"
    edit(LOOKUP, f"{LOOKUP.replace(' visits,', '')}, {other}")(root)


def one_by_the_other(root: Path) -> None:
    """A table that is keyed by a column of another one, which nothing else takes."""
    split_off(root)
    codes = pa.array(range(len(profiles())))
    pq.write_table(profiles().select(["customer_id"]).append_column("code", codes), root / TABLE)
    found = profiles().drop_columns(["customer_id"]).append_column("code", codes)
    pq.write_table(found, root / "data" / "codes.parquet")
    first = f"{{path: {TABLE}, keys: [customer_id], columns: [code]}}"
    columns = ", ".join(LOOKED_UP)
    edit(LOOKUP, f"{first}, {{path: data/codes.parquet, keys: [code], columns: [{columns}]}}")(root)


def two_keys(root: Path) -> None:
    split_off(root)
    rows, found = profiles(), root / TABLE
    halves = [pc.utf8_slice_codeunits(rows.column(0), *bounds) for bounds in ((0, 10), (11, 15))]
    names = ["day", "number"]
    table = pa.table([*halves, *rows.columns[1:]], [*names, *LOOKED_UP])
    pq.write_table(table.set_column(1, "number", halves[1].cast(pa.int16())), found)
    for file in (root / "data" / "customers").glob("*/*.parquet"):
        table = pq.read_table(file, partitioning=None)
        keys = [pc.utf8_slice_codeunits(table.column("customer_id"), *b) for b in ((0, 10), (11, 15))]
        table = table.append_column("day", keys[0].dictionary_encode())
        pq.write_table(table.append_column("number", keys[1].cast(pa.int64())), file)
    edit("keys: [customer_id], columns", "keys: [day, number], columns")(root)


DATES = ["2024-01-01", "2024-03-02", "2024-03-03"]
TIMES = ["2024-01-01T00:00:00", "2024-03-02T23:59:59.999", "2024-03-03T00:00:00"]
LOOKUPS: dict[str, Callable[[Path], None]] = {
    "a file": split_off,
    "a folder of files": in_a_folder,
    "other names": renamed,
    "a column that is cast": cast_after,
    "two tables": two_tables,
    "two tables, one keyed by the other": one_by_the_other,
    "two keys, encoded and of another width": two_keys,
    "valid from a date": since([*map(pd.Timestamp, DATES)], pa.date32()),
    "valid from a time": since([*map(pd.Timestamp, TIMES)], pa.timestamp("us")),
    "valid from a time in UTC": since(
        [pd.Timestamp(time, tz="America/New_York") for time in TIMES],
        pa.timestamp("us", "UTC"),
        zone="America/New_York",
    ),
}


def record(root: Path, name: str) -> Any:
    (file,) = (root / "scores" / "churn.batchdeploy" / "runs" / f"date={DAY}").glob(f"*/{name}.json")
    return json.loads(file.read_text())


@pytest.mark.parametrize("arrange", LOOKUPS.values(), ids=LOOKUPS.keys())
def test_looked_up_columns_give_the_scores_checks_and_drift_of_the_rows_own(
    project: Path, cli: Callable[..., Result], plain: Path, arrange: Callable[[Path], None]
) -> None:
    arrange(project)
    done = cli("run", project / "dags" / "churn.yaml", "-p", DAY)
    assert done.code == 0, done.err
    pd.testing.assert_frame_equal(scores(project), scores(plain))
    assert record(project, "check")["results"] == record(plain, "check")["results"]
    assert record(project, "drift")["statistics"] == record(plain, "drift")["statistics"]
    assert cli("check", project / "dags" / "churn.yaml").code == 0


def test_a_key_that_is_not_in_the_table_follows_the_policy_for_nulls(
    project: Path, cli: Callable[..., Result]
) -> None:
    split_off(project)
    known = pc.not_equal(profiles().column("customer_id"), f"{DAY}-0007")
    pq.write_table(profiles().filter(known), project / TABLE)
    edit("owner: tests", "owner: tests\nquarantine: {max_share: 0.5}\npolicy: {null: quarantine}")(project)
    done = cli("run", project / "dags" / "churn.yaml", "-p", DAY)
    assert done.code == 0, done.err
    scored = record(project, "scored")
    folder = project / "scores" / "churn.batchdeploy" / "quarantine" / f"date={DAY}"
    held = pq.read_table(folder, partitioning=None).to_pandas().set_index("customer_id")
    assert held.loc[f"{DAY}-0007", ["income", "visits", "city"]].isna().all()
    assert scored["rows_scored"] + scored["rows_quarantined"] == 200


def test_where_may_ask_for_a_looked_up_column(project: Path, cli: Callable[..., Result]) -> None:
    split_off(project)
    edit("  keys:", "  where: [{column: city, op: eq, value: Bern}]\n  keys:")(project)
    done = cli("run", project / "dags" / "churn.yaml", "-p", DAY)
    assert done.code == 0, done.err
    expected = customers(DAY).query("city == 'Bern'")["customer_id"]
    assert [*scores(project)["customer_id"]] == sorted(expected)
    assert record(project, "check")["results"][0]["evaluated"] == len(expected)


def planned(cli: Callable[..., Result], file: Path) -> Any:
    (plan,) = cli("plan", file, "-p", DAY, "--json").json["plans"]
    return plan


def test_another_table_is_another_run_and_its_files_are_pinned(
    project: Path, cli: Callable[..., Result]
) -> None:
    split_off(project)
    file = project / "dags" / "churn.yaml"
    first = planned(cli, file)
    assert planned(cli, file)["run_id"] == first["run_id"]
    (pinned,) = first["data"]["lookups"]
    assert [found["path"] for found in pinned["files"]] == [TABLE]
    table = profiles().take([*range(800)][::-1])
    pq.write_table(table, project / TABLE)
    second = planned(cli, file)
    assert second["run_id"] != first["run_id"]
    assert second["data"]["files"] == first["data"]["files"]


@pytest.mark.parametrize("change", ["rewritten", "deleted"])
def test_a_table_that_changes_before_publishing_is_refused_by_name(
    project: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    split_off(project)
    measure = run_steps.measure_drift

    def meanwhile(*arguments: Any, **words: Any) -> Any:
        if change == "deleted":
            os.unlink(project / TABLE)
        else:
            pq.write_table(profiles().slice(1), project / TABLE)
        return measure(*arguments, **words)

    monkeypatch.setattr(run_steps, "measure_drift", meanwhile)
    done = cli("run", project / "dags" / "churn.yaml", "-p", DAY)
    assert done.code == 2, done.err
    verb = "was deleted" if change == "deleted" else "changed"
    assert f"{TABLE}: {verb} since it was pinned" in done.err
    assert not (project / "scores" / "churn").exists()


@pytest.mark.parametrize("name", ["a file", "a folder of files"])
def test_a_table_in_a_bucket_gives_the_same_scores(
    project: Path, cli: Callable[..., Result], plain: Path, name: str, s3_port: int, store_credentials: None
) -> None:
    LOOKUPS[name](project)
    bucket = to_bucket(project, s3_port)
    done = cli("run", project / "dags" / "churn.yaml", "-p", DAY)
    assert done.code == 0, done.err
    pd.testing.assert_frame_equal(scores(project), scores(plain))
    pins = record(project, "plan")["data"]["lookups"][0]["files"]
    assert all(pin["path"] == pin["location"] and pin["path"].startswith(bucket.uri) for pin in pins)
    assert len(pins) == (1 if name == "a file" else 3)


def to_bucket(root: Path, port: int) -> Bucket:
    """Moves the looked-up table into a new bucket."""
    bucket = s3_bucket(port)
    table = root / TABLE
    place = table if table.exists() else table.with_suffix("")
    for file in [place] if place.is_file() else sorted(place.iterdir()):
        bucket.put(f"lake/{file.relative_to(root).as_posix()}", file.read_bytes())
        file.unlink()
    edit("path: data/profiles", f"path: {bucket.uri}/lake/data/profiles")(root)
    endpoint = f"storage: {{endpoint: {bucket.storage.endpoint}, region: us-east-1}}"
    edit("engine: {kind: local}", f"engine: {{kind: local}}\n{endpoint}")(root)
    return bucket


@pytest.mark.parametrize("change", ["replaced", "deleted"])
def test_an_object_that_changes_before_publishing_is_refused_by_name(
    project: Path,
    cli: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    s3_port: int,
    store_credentials: None,
    change: str,
) -> None:
    import obstore

    split_off(project)
    bucket, measure = to_bucket(project, s3_port), run_steps.measure_drift

    def meanwhile(*arguments: Any, **words: Any) -> Any:
        if change == "deleted":
            obstore.delete(bucket.store, f"lake/{TABLE}")
        else:
            bucket.put(f"lake/{TABLE}", profiles().slice(1))
        return measure(*arguments, **words)

    monkeypatch.setattr(run_steps, "measure_drift", meanwhile)
    done = cli("run", project / "dags" / "churn.yaml", "-p", DAY)
    assert done.code == 2, done.err
    verb = "was deleted" if change == "deleted" else "changed"
    assert f"{bucket.uri}/lake/{TABLE}: {verb} since it was pinned" in done.err
    assert not (project / "scores" / "churn").exists()


def test_no_such_object_is_named(
    project: Path, cli: Callable[..., Result], s3_port: int, store_credentials: None
) -> None:
    split_off(project)
    bucket = to_bucket(project, s3_port)
    edit(f"lake/{TABLE}", "lake/data/none.parquet")(project)
    done = cli("run", project / "dags" / "churn.yaml", "-p", DAY)
    assert done.code == 2, done.err
    assert f"{bucket.uri}/lake/data/none.parquet" in done.err


@pytest.mark.parametrize("folder", [False, True])
def test_a_revision_has_its_own_table_from_the_remote(
    project: Path, cli: Callable[..., Result], plain: Path, tmp_path: Path, folder: bool
) -> None:
    LOOKUPS["a folder of files" if folder else "a file"](project)
    table = project / (TABLE.removesuffix(".parquet") if folder else TABLE)
    tracked = ("data/customers", "data/reference", str(table.relative_to(project)))
    init(project)
    set_remote(project, str(tmp_path / "remote"))
    (project / ".gitignore").write_text("/scores\n")
    commit(project, *tracked)
    for file in table.iterdir() if folder else [table]:
        held = pq.read_table(file)
        file.unlink()
        pq.write_table(held.set_column(1, "income", pa.repeat(1.0, len(held))), file)
    commit(project, *tracked)
    root = clone(project, tmp_path / "clone")
    edit("  keys:", "  rev: HEAD~1\n  keys:")(root)
    done = cli("run", root / "dags" / "churn.yaml", "-p", DAY)
    assert done.code == 0, done.err
    pd.testing.assert_frame_equal(scores(root), scores(plain))
    edit("rev: HEAD~1", "rev: null")(root)
    missing = cli("plan", root / "dags" / "churn.yaml", "-p", DAY)
    assert (missing.code, "is recorded by DVC, but not in the workspace" in missing.err) == (2, True)
    edit("rev: null", "fetch: true")(root)
    newest = cli("plan", root / "dags" / "churn.yaml", "-p", DAY)
    assert (newest.code, "changed" in newest.out) == (0, True), newest.err


def then(*changes: Callable[[Path], None]) -> Callable[[Path], None]:
    """The project with a lookup, and these changes after it."""

    def apply(root: Path) -> None:
        for change in (split_off, *changes):
            change(root)

    return apply


def written(table: Callable[[], pa.Table]) -> Callable[[Path], None]:
    return lambda root: pq.write_table(table(), root / TABLE)


def linked_away(root: Path) -> None:
    elsewhere = root.parent / "elsewhere.parquet"
    (root / TABLE).rename(elsewhere)
    (root / TABLE).symlink_to(elsewhere)


def partitioned(root: Path) -> None:
    folder = root / "data" / "tables" / "date=2024-03-01"
    folder.mkdir(parents=True)
    (root / TABLE).rename(folder / "part-0.parquet")


def of_scores(root: Path) -> None:
    pq.write_table(profiles().append_column("churn_probability", pa.repeat(0.5, 800)), root / TABLE)


def with_times(kind: pa.DataType, *times: Any) -> Callable[[Path], None]:
    column = pa.array(times, kind)
    return written(lambda: profiles().slice(0, len(column)).append_column("since", column))


AS_OF = edit("city]}]", "city], as_of: since}]")
BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "no such file": (then(lambda root: (root / TABLE).unlink()), "data.lookups.0.path: no such file"),
    "a path out of the project": (
        then(edit(TABLE, "../profiles.parquet")), "data.lookups.0.path: climbs out of the project",
    ),
    "a URI of no store": (
        then(edit(TABLE, "ftp://lake/x")), "data.lookups.0.path: is in no store that is known",
    ),
    "HDFS": (
        then(edit(TABLE, "hdfs://lake/x")), "data.lookups.0.path: HDFS is not read; mount it",
    ),
    "a URI with a secret": (
        then(edit(TABLE, "'s3://AKIA0123456789ABCDEF:c2VjcmV0a2V5c2VjcmV0a2V5c2VjcmV0a2V5@lake/x'")),
        "data.lookups.0.path: holds credentials; they belong in the environment",
    ),
    "a link out of the project": (then(linked_away), f"{TABLE}: is a link that leads out of the project"),
    "the scores themselves": (
        then(edit(TABLE, "scores/churn/part.parquet")), "must be outside output.path; scores are no features",
    ),
    "a folder of the rows": (then(edit(TABLE, "data/customers/x")), "must be outside data.path"),
    "a table with partitions": (
        then(partitioned, edit(TABLE, "data/tables")), "a lookup's table has no partitions",
    ),
    "no Parquet": (
        then(lambda root: (root / TABLE).write_text("customer_id,income") and None), "is not Parquet",
    ),
    "a damaged file": (
        then(lambda root: os.truncate(root / TABLE, 2_000)), f"{TABLE}: is truncated",
    ),
    "an unknown key of the table": (
        then(edit("keys: [customer_id], columns", "keys: {customer_id: id}, columns")),
        f"{TABLE}: has no such column, got id",
    ),
    "an unknown key of the rows": (
        then(edit("keys: [customer_id], columns", "keys: {plane: customer_id}, columns")),
        "keys: no such column in the data, got plane",
    ),
    "an unknown column": (then(edit("visits, city]}", "visits, town]}")), "has no such column, got town"),
    "keys of other types": (
        then(written(lambda: profiles().set_column(0, "customer_id", pa.array(range(800))))),
        "keys: customer_id: is int64 in the table, and string in the data",
    ),
    "keys that are fractions": (
        then(edit("keys: [customer_id], columns", "keys: [age], columns"),
             written(lambda: profiles().append_column("age", pa.array([0.5] * 800)))),
        "keys: age: cannot be matched; keys are texts, whole numbers, dates or booleans, got double",
    ),
    "a column that the rows have": (
        then(edit("visits, city]}", "visits, city, age]}"),
             written(lambda: profiles().append_column("age", pa.array([0.5] * 800)))),
        "columns: is a column of the data already; give the looked-up column another name",
    ),
    "the partition column": (
        then(edit("visits, city]}", "visits, city, date]}")), "is the partition column already",
    ),
    "an output": (
        then(of_scores, edit("visits, city]}", "visits, city, churn_probability]}")),
        "data.lookups.0.columns: is an output already; give it another name",
    ),
    "a column of two lookups": (
        then(edit(LOOKUP, f"{LOOKUP}, {LOOKUP}")), "is a column of data.lookups.0 already",
    ),
    "two rows for a key": (
        then(written(lambda: pa.concat_tables([profiles(), profiles().slice(3, 1)]))),
        "customer_id: 1 time more than one row; keep one for each key, or name the column that orders them "
        "in as_of, got customer_id=2024-03-01-0003",
    ),
    "two rows for a key and time": (
        then(AS_OF, written(lambda: pa.concat_tables([profiles().slice(0, 1)] * 2).append_column(
            "since", pa.array([pd.Timestamp("2024-01-01")] * 2, pa.date32())))),
        "keep one for each key and time, got customer_id=2024-03-01-0000, since=2024-01-01",
    ),
    "no such time": (then(AS_OF), f"{TABLE}: has no such column, got since"),
    "a time that is text": (
        then(AS_OF, with_times(pa.string(), "2024-01-01")), "as_of: since holds no dates or timestamps",
    ),
    "a time that is null": (
        then(AS_OF, with_times(pa.date32(), pd.Timestamp("2024-01-01"), None)),
        "since: says nothing for some rows",
    ),
    "a table that is too large": (
        then(edit("owner: tests", "owner: tests\nlimits: {lookup_mib: 0.01}")),
        "more than limits.lookup_mib = 0.01 in memory; take fewer columns, join it to the rows before, or",
    ),
    "a partition without a time": (
        then(edit("column: date", "column: date, key_format: '%Y%m%d'"), AS_OF,
             with_times(pa.date32(), pd.Timestamp("2024-01-01"))),
        "is no time written as '%Y%m%d', so that data.lookups cannot tell what as_of was known",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "expected"), BAD.values(), ids=BAD.keys())
def test_a_lookup_that_cannot_be_is_named(
    project: Path, cli: Callable[..., Result], spoil: Callable[[Path], None], expected: str
) -> None:
    spoil(project)
    done = cli("run", project / "dags" / "churn.yaml", "-p", DAY)
    assert done.code == 2, done.err
    assert expected in " ".join(done.err.split())
    assert not (project / "scores" / "churn").exists()
