"""Every known bad input, through the command line: each is named and distinguished, and nothing changes.

What comes in as a file is refused before any task (exit code 2). What comes in as a value goes where the
policy says: to quarantine with its reason, file and row, or it refuses the partition (exit code 1).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests_support import SCHEMA, Result, customers, edit, tree, write_day, write_encrypted

pytestmark = pytest.mark.slow

DAY = "2024-03-02"
Cli = Callable[..., Result]


def folder(root: Path, day: str = DAY) -> Path:
    return root / "data" / "customers" / f"date={day}"


def rows(count: int = 200) -> pa.Table:
    return pa.Table.from_pandas(customers(DAY, count), schema=SCHEMA, preserve_index=False)


def second(change: Callable[[pa.Table], pa.Table], **options: Any) -> Callable[[Path], None]:
    """A second file beside the good one, with other rows, and changed."""

    def spoil(root: Path) -> None:
        table = change(rows(260).slice(200))
        pq.write_table(table, folder(root) / "part-1.parquet", **options)

    return spoil


def first(change: Callable[[pa.Table], pa.Table], **options: Any) -> Callable[[Path], None]:
    """A changed file that sorts before the good one, so that Spark would take its schema from it."""

    def spoil(root: Path) -> None:
        pq.write_table(change(rows(260).slice(200)), folder(root) / "part-.parquet", **options)

    return spoil


def retyped(name: str, kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        place = table.column_names.index(name)
        return table.set_column(place, name, table[name].cast(kind, safe=False))

    return change


def renamed(old: str, new: str) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.rename_columns([new if name == old else name for name in table.column_names])


def added(name: str, kind: pa.DataType, value: Any = None) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.append_column(name, pa.array([value] * len(table), kind))


def raw(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda root: (folder(root) / name).write_bytes(content) and None


def truncated(root: Path) -> None:
    file = folder(root) / "part-0.parquet"
    file.write_bytes(file.read_bytes()[:-100])


def flipped_bit(root: Path) -> None:
    pq.write_table(rows(), folder(root) / "part-0.parquet", write_page_checksum=True, compression="none")
    file = folder(root) / "part-0.parquet"
    column = pq.read_metadata(file).row_group(0).column(1)
    content = bytearray(file.read_bytes())
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    file.write_bytes(content)


def linked_out(root: Path) -> None:
    outside = root.parent / "elsewhere.parquet"
    pq.write_table(rows(260).slice(200), outside)
    (folder(root) / "part-1.parquet").symlink_to(outside)


def loop(root: Path) -> None:
    (folder(root) / "part-1.parquet").symlink_to(folder(root) / "part-1.parquet")


def bomb(root: Path) -> None:
    """Half a billion rows of one value in a file of kilobytes, more than the limit that is set."""
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1_000_000, "int32")), pa.array([1.5]))
    table = pa.table({"age": column})
    with pq.ParquetWriter(folder(root) / "part-1.parquet", table.schema, compression="zstd") as writer:
        for _ in range(20):
            writer.write_table(table)
    edit("engine: {kind: local}", "engine: {kind: local}\nlimits: {rows: 10000000}")(root)


def many_files(root: Path) -> None:
    edit("engine: {kind: local}", "engine: {kind: local}\nlimits: {files: 20}")(root)
    for number in range(30):
        pq.write_table(rows(230).slice(200 + number, 1), folder(root) / f"small-{number:03d}.parquet")


def large_footer(root: Path) -> None:
    edit("engine: {kind: local}", "engine: {kind: local}\nlimits: {footer_mib: 0.1}")(root)
    table = rows(260).slice(200).replace_schema_metadata({"note": "x" * 300_000})
    pq.write_table(table, folder(root) / "part-1.parquet")


def encrypted(name: str, **options: Any) -> Callable[[Path], None]:
    """A file of which the column ``age`` is encrypted, beside the good one or in its place."""

    def spoil(root: Path) -> None:
        write_encrypted(rows(260).slice(200), folder(root) / name, column_keys={"key": ["age"]}, **options)

    return spoil


def on_spark(spoil: Callable[[Path], None]) -> Callable[[Path], None]:
    def both(root: Path) -> None:
        spoil(root)
        edit("engine: {kind: local}", "engine: {kind: spark}")(root)

    return both


def other_folder(name: str) -> Callable[[Path], None]:
    return lambda root: shutil.copytree(folder(root), folder(root).with_name(name)) and None


def beside(name: str, inside: str = "x") -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        place = root / "data" / "customers" / name
        place.mkdir(parents=True)
        (place / inside).write_text("{}")

    return spoil


FILES: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "a column missing in one file": (
        second(lambda t: t.drop_columns("visits")),
        ("part-1.parquet: lacks the column visits that other files have",),
    ),
    "a column missing in the file that sorts first": (
        first(lambda t: t.drop_columns("visits")),
        ("part-0.parquet: has a column visits that other files lack",),
    ),
    "int32 beside int64": (
        second(retyped("visits", pa.int32())),
        ("part-1.parquet: holds visits as another type than", "expected int64, got int32"),
    ),
    "int beside string": (
        second(retyped("visits", pa.string())), ("part-1.parquet: holds visits", "got string"),
    ),
    "a zero-byte file beside good ones": (raw("part-1.parquet", b""), ("part-1.parquet", "got 0 bytes")),
    "a truncated file": (truncated, ("part-0.parquet: is truncated",)),
    "an HTML error page": (
        raw("part-1.parquet", b"<html><body>502 Bad Gateway</body></html>"),
        ("part-1.parquet: is not Parquet; it looks like an HTML or XML page",),
    ),
    "CSV": (raw("part-1.parquet", b"id,age\n1,2\n"), ("part-1.parquet", "text, such as CSV")),
    "an encrypted column": (
        encrypted("part-1.parquet", plaintext_footer=True),
        ("part-1.parquet: holds encrypted columns", "got age"),
    ),
    "an encrypted column in the only file": (
        encrypted("part-0.parquet", plaintext_footer=True),
        ("part-0.parquet: holds encrypted columns", "got age"),
    ),
    "an encrypted footer": (encrypted("part-1.parquet"), ("part-1.parquet: is encrypted",)),
    "a stray folder": (lambda root: (folder(root) / "more").mkdir(), ("more: not a Parquet file",)),
    "a file of another kind": (raw("notes.txt", b"hello"), ("notes.txt: not a Parquet file",)),
    "a name that Spark skips": (
        lambda root: os.rename(folder(root) / "part-0.parquet", folder(root) / "_part-0.parquet"),
        ("_part-0.parquet: has a name that Spark and others skip",),
    ),
    "a name that differs in case": (
        second(renamed("age", "Age")), ("part-1.parquet: lacks the column age", "got Age"),
    ),
    "columns that differ in case": (
        second(added("CITY", pa.string(), "x")), ("differ in case only, got city, CITY",),
    ),
    "a column twice in a file": (
        second(lambda t: t.append_column("city", t["city"])), ("has a column twice, got city",),
    ),
    "the same file twice": (
        lambda root: shutil.copy(folder(root) / "part-0.parquet", folder(root) / "part-9.parquet") and None,
        ("part-9.parquet: is the same file as another one", "part-0.parquet"),
    ),
    "a link out of the project": (linked_out, ("part-1.parquet: is a link that leads out of the project",)),
    "a link to itself": (loop, ("part-1.parquet: cannot be read",)),
    "a FIFO": (lambda root: os.mkfifo(folder(root) / "part-1.parquet"), ("part-1.parquet: not a Parquet",)),
    "more rows than the limit": (bomb, ("more rows than limits.rows = 10,000,000, got 20,000,200",)),
    "too many files": (many_files, ("more than limits.files = 20 files; compact them", "got 31")),
    "a huge footer": (large_footer, ("part-1.parquet: its footer is larger than limits.footer_mib = 0.1",)),
    "another folder for the same value": (
        other_folder("date=2024-03-02 "), ("also exists, and other readers treat both as one value",),
    ),
    "a Delta table": (beside("_delta_log"), ("_delta_log: this is a Delta table",)),
    "an Iceberg table": (beside("metadata", "v1.metadata.json"), ("metadata: this is a Iceberg table",)),
    "float16, which Spark cannot read": (
        on_spark(second(added("extra", pa.float16(), np.float16(1)))),
        ("part-1.parquet: column extra: Spark cannot read the type", "got halffloat"),
    ),
    "a time of day, which Spark cannot read": (
        on_spark(second(added("at", pa.time64("us"), 1))), ("column at: Spark cannot read", "time64"),
    ),
    "a duration, which Spark cannot read": (
        on_spark(second(added("took", pa.duration("us"), 1))), ("column took: Spark cannot read",),
    ),
    "a wide decimal, which Spark cannot read": (
        on_spark(second(added("much", pa.decimal256(50, 2)))), ("column much: Spark", "decimal256"),
    ),
    "a codec that Spark lacks": (
        on_spark(second(lambda t: t, compression="brotli")), ("a codec that Spark lacks", "got BROTLI"),
    ),
    "a policy for a column that is not there": (
        edit("engine:", "policy: {ranges: {agee: [0, 1]}}\nengine:"), ("policy.ranges.agee: no such column",),
    ),
    "a range for text": (
        edit("engine:", "policy: {ranges: {city: [0, 1]}}\nengine:"), ("policy.ranges.city: does not fit",),
    ),
    "a range upside down": (
        edit("engine:", "policy: {ranges: {age: [5, 1]}}\nengine:"), ("policy.ranges.age: the lowest",),
    ),
    "a policy that is none": (edit("engine:", "policy: {nan: ignore}\nengine:"), ("policy.nan:", "'ignore'")),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "expected"), FILES.values(), ids=FILES.keys())
def test_a_bad_file_is_named_and_nothing_is_changed(
    project: Path, cli: Cli, spoil: Callable[[Path], None], expected: tuple[str, ...]
) -> None:
    spoil(project)
    before = tree_of(project)
    result = cli("run", project / "dags" / "churn.yaml", "--partition", DAY)
    assert result.code == 2, result.err
    for words in expected:
        assert words in result.err
    assert tree_of(project) == before


def tree_of(project: Path) -> dict[str, str]:
    """As `tree`, past what cannot be read to its end."""
    odd = [p for p in project.rglob("*") if p.is_fifo() or (p.is_symlink() and not p.exists())]
    return tree(project, without=odd)


def test_all_problems_come_in_one_message(project: Path, cli: Cli) -> None:
    for name in ("a zero-byte file beside good ones", "a FIFO"):
        shutil.rmtree(folder(project) / "part-1.parquet", ignore_errors=True)
        (folder(project) / "part-1.parquet").unlink(missing_ok=True)
        FILES[name][0](project)
    pq.write_table(rows(260).slice(200).drop_columns("age"), folder(project) / "part-2.parquet")
    (folder(project) / "part-1.parquet").unlink()
    (folder(project) / "part-3.parquet").write_bytes(b"")
    shutil.copy(folder(project) / "part-0.parquet", folder(project) / "part-4.parquet")
    result = cli("run", project / "dags" / "churn.yaml", "--partition", DAY)
    assert result.code == 2
    for words in (
        "3 problems",
        "part-2.parquet: lacks",
        "part-3.parquet: cannot",
        "part-4.parquet: is the same",
    ):
        assert words in result.err


def test_a_flipped_bit_is_found_while_reading(project: Path, cli: Cli) -> None:
    flipped_bit(project)
    result = cli("run", project / "dags" / "churn.yaml", "--partition", DAY)
    assert result.code == 2
    assert "part-0.parquet: its pages cannot be read" in result.err
    assert not (project / "scores" / "churn").exists()


def spoil_rows(root: Path, change: Callable[[pd.DataFrame], pd.DataFrame], policy: str = "") -> None:
    frame = customers(DAY)
    frame["income"] = frame["income"].fillna(30_000.0)
    write_day(root / "data" / "customers", DAY, change(frame), SCHEMA)
    edit("expectations: expectations/customers.json\n", "")(root)
    edit("engine: {kind: local}", f"engine: {{kind: local}}\n{policy}\nquarantine: {{max_share: 0.1}}")(root)


def at(column: str, value: Any, *places: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[list(places), column] = value
        return frame

    return change


def twice(frame: pd.DataFrame) -> pd.DataFrame:
    frame.loc[7, "customer_id"] = frame.loc[190, "customer_id"]
    return frame


RANGES = "ranges: {age: [0, 120]}"
CITIES = "categories: {city: [Bern, Genève, Zürich]}"
VALUES: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str, str, str, set[int]]] = {
    "infinity": (at("age", np.inf, 3, 5), "", "infinity", "age", {3, 5}),
    "minus infinity": (at("age", -np.inf, 3), "", "infinity", "age", {3}),
    "null in a required feature": (at("age", None, 3), "", "null", "age", {3}),
    "null in an integer": (at("visits", None, 4), "", "null", "visits", {4}),
    "a sentinel": (at("age", -999.0, 8), RANGES, "out_of_range", "age", {8}),
    "an unseen category": (at("city", "Chur", 9), CITIES, "unseen_category", "city", {9}),
    "a null key": (at("customer_id", None, 2), "", "null_key", "customer_id", {2}),
    "a duplicate key": (twice, "", "duplicate_key", "customer_id", {7, 190}),
    "text that is not UTF-8": (at("city", "Z\udcfcrich", 9, 11), "", "invalid_text", "city", {9, 11}),
    "a key that is not UTF-8": (at("customer_id", "caf\udce9", 2), "", "invalid_text", "customer_id", {2}),
    "a huge cell": (at("city", "x" * 5000, 6), "max_cell_bytes: 4000", "large_cell", "city", {6}),
}  # fmt: skip


# An integer cannot be null, and this model takes no infinity, whatever the policy passes. The policy also
# passes no text that readers refuse.
PASSABLE = [
    name for name in VALUES if "infinity" not in name and "UTF-8" not in name and name != "null in an integer"
]


def quarantined(project: Path) -> pd.DataFrame:
    return pd.read_parquet(project / "scores" / "churn.batchdeploy" / "quarantine")


@pytest.mark.parametrize("name", VALUES)
def test_a_bad_value_goes_to_quarantine_with_file_and_row(project: Path, cli: Cli, name: str) -> None:
    change, extra, rule, column, places = VALUES[name]
    count = len(places)
    spoil_rows(project, change, f"policy: {{{rule}: quarantine, {extra}}}".replace(", }", "}"))
    result = cli("run", project / "dags" / "churn.yaml", "--partition", DAY, "--json")
    assert result.code == 0, result.err
    manifest = result.json["manifest"]
    assert (manifest["rows_in"], manifest["rows_quarantined"]) == (200, count)
    rows = quarantined(project)
    assert set(rows["_source_file"]) == {f"date={DAY}/part-0.parquet"}
    assert all(column in reason for reason in rows["_reason"])
    published = pd.read_parquet(project / "scores" / "churn")
    assert len(published) + len(rows) == 200
    assert set(rows["_source_row"]) == places
    scored = json.loads((Path(result.json["folder"]) / "scored.json").read_text())
    assert f"policy: {column}: {rule} in {count} rows, quarantine" in cli("show", result.json["folder"]).out
    assert f"<td>{rule}</td>" in (Path(result.json["folder"]) / "report.html").read_text(encoding="utf-8")
    found = {(f["rule"], f["column"], f["action"]): f["rows"] for f in scored["findings"]}
    assert found[rule, column, "quarantine"] == count


@pytest.mark.parametrize("name", VALUES)
def test_a_bad_value_can_refuse_the_partition(project: Path, cli: Cli, name: str) -> None:
    change, extra, rule, column, places = VALUES[name]
    count = len(places)
    spoil_rows(project, change, f"policy: {{{rule}: fail, {extra}}}".replace(", }", "}"))
    result = cli("run", project / "dags" / "churn.yaml", "--partition", DAY)
    assert result.code == 1, result.err
    assert f"- {column}: {rule}: {count} of 200 rows" in result.err
    assert f"data/customers/date={DAY}" in result.err
    assert len(quarantined(project)) == count
    assert not (project / "scores" / "churn").exists()


@pytest.mark.parametrize("name", PASSABLE)
def test_a_bad_value_can_pass_and_is_counted(project: Path, cli: Cli, name: str) -> None:
    change, extra, rule, _, places = VALUES[name]
    spoil_rows(project, change, f"policy: {{{rule}: pass, {extra}}}".replace(", }", "}"))
    result = cli("run", project / "dags" / "churn.yaml", "--partition", DAY, "--json")
    assert result.code == 0, result.err
    assert result.json["manifest"]["rows_scored"] == 200
    scored = json.loads((Path(result.json["folder"]) / "scored.json").read_text())
    assert [f for f in scored["findings"] if f["rule"] == rule and f["rows"] == len(places)]


def test_a_policy_holds_for_columns_that_nobody_else_reads(project: Path, cli: Cli) -> None:
    table = rows().append_column("premium", pa.array([-5.0] + [5.0] * 199))
    pq.write_table(table, folder(project) / "part-0.parquet")
    edit("engine:", "policy: {ranges: {premium: [0, 100]}}\nquarantine: {max_share: 0.1}\nengine:")(project)
    result = cli("run", project / "dags" / "churn.yaml", "--partition", DAY, "--json")
    assert result.code == 0, result.err
    assert quarantined(project)["_source_row"].to_list() == [0]


def test_half_floats_are_scored(project: Path, cli: Cli) -> None:
    table = retyped("age", pa.float16())(rows())
    pq.write_table(table, folder(project) / "part-0.parquet")
    edit("engine:", "policy: {ranges: {age: [0, 120]}}\nengine:")(project)
    result = cli("run", project / "dags" / "churn.yaml", "--partition", DAY, "--json")
    assert result.code == 0, result.err
    assert result.json["manifest"]["rows_scored"] == 200


def test_nan_is_told_from_null(project: Path, cli: Cli) -> None:
    table = pa.Table.from_pandas(customers(DAY), schema=SCHEMA, preserve_index=False)
    ages = table["age"].to_pylist()
    ages[3], ages[4] = float("nan"), None
    pq.write_table(
        table.set_column(1, "age", pa.array(ages, from_pandas=False)), folder(project) / "part-0.parquet"
    )
    edit("engine:", "policy: {nan: quarantine, null: pass}\nquarantine: {max_share: 0.1}\nengine:")(project)
    edit("expectations: expectations/customers.json\n", "")(project)
    result = cli("run", project / "dags" / "churn.yaml", "--partition", DAY, "--json")
    assert result.code == 0, result.err
    assert quarantined(project)["_source_row"].to_list() == [3]


def test_duplicates_across_files_are_found(project: Path, cli: Cli) -> None:
    """Row 0 of one file and row 5 of another; the third file is not scored again."""
    for number in range(3):
        part = customers(DAY).iloc[number * 60 : number * 60 + 60].reset_index(drop=True)
        if number == 2:
            part.loc[5, "customer_id"] = customers(DAY).loc[0, "customer_id"]
        table = pa.Table.from_pandas(part, schema=SCHEMA, preserve_index=False)
        pq.write_table(table, folder(project) / f"part-{number}.parquet")
    edit("engine:", "quarantine: {max_share: 0.1}\nengine:")(project)
    edit("expectations: expectations/customers.json\n", "")(project)
    result = cli("run", project / "dags" / "churn.yaml", "--partition", DAY, "--json")
    assert result.code == 0, result.err
    rows = quarantined(project)
    where = sorted(zip(rows["_source_file"].str[-14:], rows["_source_row"], strict=True))
    assert where == [("part-0.parquet", 0), ("part-2.parquet", 5)]
    assert result.json["manifest"]["rows_scored"] == 178


def test_the_error_budget_refuses_what_is_beyond_it(project: Path, cli: Cli) -> None:
    spoil_rows(project, at("age", np.inf, *range(30)))
    result = cli("run", project / "dags" / "churn.yaml", "--partition", DAY)
    assert result.code == 1
    assert "30 of 200 rows quarantined (15.0%, allowed 10.0%)" in result.err
    assert "input: infinite: age: 30 rows" in result.err


@pytest.mark.parametrize(
    "value", ["", "..", "../b", "a/../b", "a\\..\\b", "x" * 300, "a\nb", "__HIVE_DEFAULT_PARTITION__"]
)
def test_a_partition_value_that_cannot_be_a_folder_is_refused(project: Path, cli: Cli, value: str) -> None:
    before = tree(project)
    for command in (("run",), ("rollback",)):
        result = cli(*command, project / "dags" / "churn.yaml", "--partition", value)
        assert result.code == 2, result.err
    assert tree(project) == before


@pytest.mark.parametrize("path", ["file:///etc/passwd", "~/x", "a\\0b", "../../etc"])
def test_a_path_that_leads_elsewhere_is_refused(project: Path, cli: Cli, path: str) -> None:
    edit("path: data/customers", f'path: "{path}"')(project)
    result = cli("run", project / "dags" / "churn.yaml", "--partition", DAY)
    assert result.code == 2, result.err
    assert "data.path" in result.err
