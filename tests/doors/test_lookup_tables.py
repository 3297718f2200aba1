"""Delta and Iceberg tables as feature lookups, through the real command line."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lakehouse_tables import add_deletion_vector, iceberg_catalog
from tests_support import SCHEMA, Result, customers, edit
from tests_support import published_scores as scores

from batchdeploy.adapters.parquet_splits import lookups
from batchdeploy.adapters.sources.lookup_files import LookupFiles
from batchdeploy.adapters.sources.lookup_tables import LookupTables
from batchdeploy.adapters.sources.table_files import TableFiles
from batchdeploy.core.pins import LookupPin
from batchdeploy.core.storage_spec import StorageSpec

pytestmark = pytest.mark.slow

DAYS = ("2024-03-01", "2024-03-02")
DAY = DAYS[1]
LOOKED_UP = ["income", "visits", "city"]
Cli = Callable[..., Result]


def profiles() -> pa.Table:
    """The columns that are looked up, of all customers, valid from the first day."""
    days = [pa.Table.from_pandas(customers(day), SCHEMA, preserve_index=False) for day in DAYS]
    table = pa.concat_tables(days).select(["customer_id", *LOOKED_UP])
    return table.append_column("since", pa.repeat(pa.scalar(dt.date(2024, 3, 1)), len(table)))


def wrong(table: pa.Table, since: dt.date = dt.date(2024, 3, 1)) -> pa.Table:
    """The same customers with other incomes."""
    table = table.set_column(1, "income", pa.repeat(1.0, len(table)))
    return table.set_column(4, "since", pa.repeat(pa.scalar(since), len(table)))


def look_up(root: Path, lookup: str) -> None:
    """Takes the columns out of the rows, and declares a lookup of them."""
    for file in (root / "data" / "customers").glob("*/*.parquet"):
        pq.write_table(pq.read_table(file, partitioning=None).drop_columns(LOOKED_UP), file)
    columns = f"keys: [customer_id], columns: [{', '.join(LOOKED_UP)}]"
    edit("  keys:", f"  lookups: [{{{lookup}, {columns}}}]\n  keys:")(root)


def delta(root: Path, table: pa.Table, **options: Any) -> None:
    from deltalake import write_deltalake

    write_deltalake(str(root / "data" / "profiles"), table, **options)


def newest_delta(root: Path, _: pytest.MonkeyPatch) -> str:
    delta(root, wrong(profiles()))
    delta(root, profiles(), mode="overwrite")
    return "path: data/profiles, format: delta"


def older_delta(root: Path, _: pytest.MonkeyPatch) -> str:
    delta(root, profiles())
    delta(root, wrong(profiles()), mode="overwrite")
    return "path: data/profiles, format: delta, rev: 0"


def partitioned_delta(root: Path, _: pytest.MonkeyPatch) -> str:
    """Files that lack a looked-up column, and the time: the table gives them."""
    delta(root, profiles(), partition_by=["city", "since"])
    delta(root, wrong(profiles(), dt.date(2024, 3, 3)), mode="append")
    return "path: data/profiles, format: delta, as_of: since"


def iceberg(root: Path, patch: pytest.MonkeyPatch) -> Any:
    from pyiceberg import catalog as catalogs
    from pyiceberg.utils.config import Config

    catalog = iceberg_catalog(root.parent / "iceberg")
    patch.setenv("PYICEBERG_CATALOG__LAKE__URI", catalog.properties["uri"])
    patch.setenv("PYICEBERG_CATALOG__LAKE__TYPE", "sql")
    # It reads the environment when it is imported.
    patch.setattr(catalogs, "_ENV_CONFIG", Config())
    return catalog.create_table("crm.profiles", schema=profiles().schema)


def older_iceberg(root: Path, patch: pytest.MonkeyPatch) -> str:
    table = iceberg(root, patch)
    table.append(profiles())
    right = table.current_snapshot().snapshot_id
    table.overwrite(wrong(profiles()))
    return f"path: lake.crm.profiles, format: iceberg, rev: {right}"


def newest_iceberg(root: Path, patch: pytest.MonkeyPatch) -> str:
    table = iceberg(root, patch)
    table.append(profiles())
    table.append(wrong(profiles(), dt.date(2024, 3, 3)))
    return "path: lake.crm.profiles, format: iceberg, as_of: since"


TABLES = [newest_delta, older_delta, partitioned_delta, newest_iceberg, older_iceberg]


def record(root: Path, name: str) -> Any:
    (file,) = (root / "scores" / "churn.batchdeploy" / "runs" / f"date={DAY}").glob(f"*/{name}.json")
    return json.loads(file.read_text())


@pytest.mark.parametrize("write", TABLES)
def test_a_table_gives_the_scores_of_the_rows_own_columns(
    project: Path,
    cli: Cli,
    plain: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Path, pytest.MonkeyPatch], str],
) -> None:
    lookup = write(project, monkeypatch)
    look_up(project, lookup)
    done = cli("run", project / "dags" / "churn.yaml", "-p", DAY)
    assert done.code == 0, done.err
    pd.testing.assert_frame_equal(scores(project), scores(plain))
    (pinned,) = record(project, "plan")["data"]["lookups"]
    assert pinned["format"] == ("delta" if "delta" in lookup else "iceberg")
    assert pinned["rev"] == lookup.partition("rev: ")[2] or ("rev" not in lookup and pinned["rev"])
    assert all(file["md5"] for file in pinned["files"])


def test_a_later_version_of_other_files_is_another_run(project: Path, cli: Cli) -> None:
    delta(project, profiles())
    look_up(project, "path: data/profiles, format: delta")
    file = project / "dags" / "churn.yaml"

    def planned() -> Any:
        (plan,) = cli("plan", file, "-p", DAY, "--json").json["plans"]
        return plan

    first = planned()
    delta(project, wrong(profiles()), mode="overwrite")
    second = planned()
    assert first["run_id"] != second["run_id"]
    assert [plan["data"]["lookups"][0]["rev"] for plan in (first, second)] == ["0", "1"]
    edit("format: delta", "format: delta, rev: 0")(project)
    assert planned()["data"]["lookups"] == first["data"]["lookups"]


def marked(root: Path) -> str:
    delta(root, profiles())
    add_deletion_vector(root / "data" / "profiles", [1, 3])
    return "path: data/profiles, format: delta"


def written(lookup: str) -> Callable[[Path], str]:
    def write(root: Path) -> str:
        delta(root, profiles())
        return lookup

    return write


BAD: dict[str, tuple[Callable[[Path], str], str]] = {
    "a deletion vector": (marked, "has a deletion vector: plain Parquet would show rows that were deleted"),
    "no such version": (
        written("path: data/profiles, format: delta, rev: 7"),
        "data.lookups.0.rev: the table has no such version, or its log was cleaned up, got 7",
    ),
    "no version": (
        written("path: data/profiles, format: delta, rev: newest"),
        "data.lookups.0.rev: is not the version of a Delta table",
    ),
    "no table": (
        written("path: data/none, format: delta"),
        "data.lookups.0.path: there is no Delta table",
    ),
    "no catalog": (
        written("path: none.crm.profiles, format: iceberg"),
        "data.lookups.0.path: no such Iceberg catalog is configured, got none",
    ),
    "no format": (
        written("path: data/profiles"),
        "read as plain Parquet it shows rows that were deleted or replaced; set format: delta",
    ),
    "a version of plain files": (
        written("path: data/profiles, rev: 1"),
        "data.lookups.0.rev: is of tables; Parquet files that DVC records are read at data.rev",
    ),
}


@pytest.mark.parametrize(("write", "expected"), BAD.values(), ids=BAD.keys())
def test_a_table_that_cannot_be_is_named(
    project: Path, cli: Cli, write: Callable[[Path], str], expected: str
) -> None:
    look_up(project, write(project))
    done = cli("run", project / "dags" / "churn.yaml", "-p", DAY)
    assert done.code == 2, done.err
    assert expected in " ".join(done.err.split())
    assert not (project / "scores" / "churn").exists()


def test_a_table_is_read_once_for_all_partitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    delta(tmp_path, profiles())
    pq.write_table(profiles(), tmp_path / "data" / "profiles.parquet")
    read: list[str] = []
    reading = lookups.read_lookup

    def counted(pin: LookupPin, most_mib: float | None = None) -> pa.Table:
        read.append(pin.path)
        return reading(pin, most_mib)

    monkeypatch.setattr(lookups, "read_lookup", counted)
    plain = LookupFiles(root=tmp_path).pin("data/profiles.parquet", key="data.lookups.0.path")
    tables = LookupTables(opening={"delta": open_delta}, files=TableFiles(StorageSpec()))
    table = str(tmp_path / "data" / "profiles")
    rev, files = tables.pin(("delta", table), None, key="data.lookups.1")
    assert rev == "0"
    for end in ("2024-03-02T00:00:00+00:00", "2024-03-03T00:00:00+00:00", "2024-02-01T00:00:00+00:00"):
        pins = [
            LookupPin(
                path=path,
                keys=(("customer_id", "customer_id"),),
                columns=(("income", "income"),),
                as_of="since",
                until=end,
                files=pinned,
            )
            for path, pinned in (("data/profiles.parquet", plain), (table, files))
        ]
        found = lookups.load_lookups(pins)
        seen = 0 if end.startswith("2024-02") else len(profiles())
        assert [len(one.rows) for one in found] == [seen, seen]
    assert read == ["data/profiles.parquet", table]


def open_delta(path: str, rev: str | int | None) -> Any:
    from batchdeploy.adapters.sources.delta import DeltaSnapshot

    return DeltaSnapshot(path, None if rev is None else int(rev), StorageSpec())
