"""Declared casts through the command line: refused with the line to write, then scored, counted and shown."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests_support import Result, edit

DAY, D = "2024-03-02", Decimal
KEYS = "keys: [customer_id]"
NOON, MIDNIGHT = dt.datetime(2013, 1, 1, 12), dt.datetime(2013, 1, 1)

# A column's type in the files; the declared type; a value and what is published for it; a value that is
# quarantined, and the reason (None where every value can be cast).
CASTS: dict[str, tuple[pa.DataType, str, Any, Any, Any, str | None]] = {
    "decimal_double": (
        pa.decimal128(38, 2), "double", D("1.25"), 1.25, D("12345678901234567890.12"),
        "lost in the cast to double: decimal_double",
    ),
    "decimal_float": (pa.decimal128(9, 1), "float", D("0.5"), 0.5, None, None),
    "decimal_long": (
        pa.decimal128(9, 1), "long", D("7.0"), 7, D("7.5"),
        "lost in the cast to long: decimal_long",
    ),
    "decimal_string": (pa.decimal128(9, 2), "string", D("1.50"), "1.50", None, None),
    "double_float": (pa.float64(), "float", 0.5, 0.5, 1e300, "lost in the cast to float: double_float"),
    "double_long": (pa.float64(), "long", 3.0, 3, 3.5, "lost in the cast to long: double_long"),
    "double_integer": (pa.float64(), "integer", 3.0, 3, 1e10, "lost in the cast to integer: double_integer"),
    "double_boolean": (
        pa.float64(), "boolean", 1.0, True, 0.5,
        "lost in the cast to boolean: double_boolean",
    ),
    "long_integer": (pa.int64(), "integer", 5, 5, 2**40, "lost in the cast to integer: long_integer"),
    "long_double": (pa.int64(), "double", 5, 5.0, 2**53 + 1, "lost in the cast to double: long_double"),
    "integer_string": (pa.int32(), "string", 7, "7", None, None),
    "integer_boolean": (pa.int8(), "boolean", 1, True, 2, "lost in the cast to boolean: integer_boolean"),
    "boolean_integer": (pa.bool_(), "integer", True, 1, None, None),
    "boolean_string": (pa.bool_(), "string", False, "false", None, None),
    "string_double": (pa.string(), "double", "1e3", 1000.0, "many", "no valid double: string_double"),
    "string_float": (pa.string(), "float", "0.5", 0.5, "1e99", "no valid float: string_float"),
    "string_long": (pa.string(), "long", "0012", 12, "12.5", "no valid long: string_long"),
    "string_integer": (pa.string(), "integer", "-3", -3, "", "no valid integer: string_integer"),
    "string_boolean": (pa.string(), "boolean", "True", True, "yes", "no valid boolean: string_boolean"),
    "string_date": (
        pa.string(), "date", "2013-01-01", MIDNIGHT.date(), "2013-02-30",
        "no valid date: string_date",
    ),
    "string_timestamp": (
        pa.string(), "timestamp", "2013-01-01T14:00:00+02:00", NOON, "noon",
        "no valid timestamp: string_timestamp",
    ),
    "timestamp_date": (
        pa.timestamp("ms"), "date", MIDNIGHT, MIDNIGHT.date(), NOON,
        "lost in the cast to date: timestamp_date",
    ),
    "date_timestamp": (pa.date32(), "timestamp", MIDNIGHT.date(), MIDNIGHT, None, None),
    "nanoseconds_timestamp": (
        pa.timestamp("ns"), "timestamp", 1_000_000_000, dt.datetime(1970, 1, 1, 0, 0, 1), 1,
        "lost in the cast to timestamp: nanoseconds_timestamp",
    ),
    "zone_timestamp": (pa.timestamp("us", "UTC"), "timestamp", NOON.replace(tzinfo=dt.UTC), NOON, None, None),
}  # fmt: skip


def part(project: Path, day: str = DAY) -> Path:
    return project / "data" / "customers" / f"date={day}" / "part-0.parquet"


def with_columns(file: Path, columns: dict[str, pa.Array]) -> None:
    """Writes a partition's file anew with these columns in place of those it has, or beside them."""
    table = pq.read_table(file, partitioning=None)
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        table = table.append_column(name, values) if place < 0 else table.set_column(place, name, values)
    pq.write_table(table, file)


def published(project: Path) -> pa.Table:
    return pq.read_table(project / "scores" / "churn" / f"date={DAY}", partitioning=None)


@pytest.mark.slow
def test_each_cast_is_published_and_what_it_would_change_is_quarantined(
    project: Path, cli: Callable[..., Result]
) -> None:
    """The first row holds what can be cast in every column; one row for each column holds what cannot be."""
    names, rows = list(CASTS), 200
    columns = {}
    for place, (name, (kind, _, good, _, bad, _)) in enumerate(CASTS.items(), start=1):
        values = [good] * rows
        values[-1] = None
        if bad is not None:
            values[place] = bad
        columns[name] = pa.array(values, kind)
    with_columns(part(project), columns)
    casts = ", ".join(f"{name}: {target}" for name, (_, target, *_) in CASTS.items())
    edit(KEYS, f"{KEYS}\n  casts: {{{casts}}}")(project)
    edit("keep: [city]", f"keep: [city, {', '.join(names)}]")(project)
    edit("engine: {kind: local}", "engine: {kind: local}\nquarantine: {max_share: 0.2}")(project)
    done = cli("run", project / "dags" / "churn.yaml", "--partition", DAY, "--json")
    assert done.code == 0, done.err
    scores = published(project).sort_by("customer_id")
    first, last = scores.slice(0, 1).to_pylist()[0], scores.slice(scores.num_rows - 1).to_pylist()[0]
    assert {name: first[name] for name in names} == {name: case[3] for name, case in CASTS.items()}
    assert {last[name] for name in names} == {None}
    expected = {name: (case[4], case[5]) for name, case in CASTS.items() if case[4] is not None}
    (file,) = (project / "scores" / "churn.batchdeploy" / "quarantine").rglob("*.parquet")
    quarantined = pq.read_table(file, partitioning=None).sort_by("customer_id")
    assert quarantined.num_rows == len(expected) == done.json["manifest"]["rows_quarantined"]
    for row, (name, (bad, reason)) in enumerate(expected.items()):
        assert quarantined["_reason"][row].as_py() == reason
        held = pa.array([bad], CASTS[name][0])
        assert quarantined[name].slice(row, 1).combine_chunks().equals(held), name
    (record,) = (project / "scores" / "churn.batchdeploy" / "runs").rglob("attempts/*/scored.json")
    counted = {one["column"]: one for one in json.loads(record.read_text())["casts"]}
    assert {n: (c["source"], c["target"], c["values"], c["lost"]) for n, c in counted.items()} == {
        name: (str(case[0]), case[1], rows - 1, int(case[4] is not None)) for name, case in CASTS.items()
    }
    shown = cli("show", record.parent)
    assert "cast: double_long: double to long, 199 values, 1 lost" in " ".join(shown.out.split())
    assert "policy: double_long: cast in 1 rows, quarantine" in " ".join(shown.out.split())
    page = next((project / "scores" / "churn.batchdeploy" / "runs").rglob("report.html")).read_text()
    assert "Declared casts" in page


def retyped(project: Path) -> None:
    """The features as other systems hand them over; the values stay the same."""
    table = pq.read_table(part(project), partitioning=None)
    texts = pa.array([repr(value) for value in table["age"].to_pylist()])
    members = table["member"].cast(pa.int8())
    with_columns(part(project), {"age": texts, "visits": table["visits"].cast("double"), "member": members})


@pytest.mark.slow
def test_a_model_gets_its_types_once_the_lines_of_the_message_are_written(
    project: Path, cli: Callable[..., Result]
) -> None:
    """Validation, drift and the scores are those of the files that held the types from the start."""
    deployment = project / "dags" / "churn.yaml"
    assert cli("run", deployment, "--partition", DAY).code == 0
    before, records = published(project), project / "scores" / "churn.batchdeploy" / "runs"
    drift = {
        (row["column"], row["statistic"]): row["value"]
        for row in json.loads(next(records.rglob("drift.json")).read_text())["statistics"]
    }
    retyped(project)
    refused = cli("run", deployment, "--partition", DAY)
    assert refused.code == 2
    assert "3 mismatches in churn: model churn version 1 and data:" in refused.err
    assert "- age: the model wants double, the data holds string; data: {casts: {age: double}}" in refused.err
    line = "casts: {age: double, visits: long, member: boolean}"
    assert f"Hint: data: {{{line}}}" in refused.err
    edit(KEYS, f"{KEYS}\n  {line}")(project)
    assert cli("check", deployment).code == 0
    done = cli("run", deployment, "--partition", DAY, "--json")
    assert done.code == 0, done.err
    assert published(project)["churn_probability"].equals(before["churn_probability"])
    run = next(records.rglob(f"{done.json['manifest']['run_id']}"))
    measured = json.loads((run / "drift.json").read_text())["statistics"]
    assert {(row["column"], row["statistic"]): row["value"] for row in measured} == drift
    check = json.loads((run / "check.json").read_text())["results"]
    assert [result["success"] for result in check] == [True, True, True]


BAD: dict[str, tuple[str, int, str]] = {
    "a type that is none": ("{age: decimal}", 2, "data.casts.age"),
    "no such column": ("{wage: double}", 2, "data.casts.wage: no such column in the data"),
    "a cast that is not possible": (
        "{age: date}", 2, "data.casts.age: the data holds double, which is cast to boolean, integer, long",
    ),
    "the partition column": ("{date: date}", 2, "data.casts.date: is the partition column"),
    "another type than the model takes": (
        "{age: string}", 2, "data.casts.age: the data holds double, which is cast to",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("casts", "code", "message"), BAD.values(), ids=BAD.keys())
def test_a_wrong_cast_is_one_clear_message(
    project: Path, cli: Callable[..., Result], casts: str, code: int, message: str
) -> None:
    edit(KEYS, f"{KEYS}\n  casts: {casts}")(project)
    refused = cli("plan", project / "dags" / "churn.yaml", "--partition", DAY)
    assert refused.code == code
    assert message in refused.err
    assert not (project / "scores").exists()


def test_policy_may_refuse_a_partition_for_a_value_that_is_lost(
    project: Path, cli: Callable[..., Result]
) -> None:
    table = pq.read_table(part(project), partitioning=None)
    ages = [repr(value) for value in table["age"].to_pylist()]
    with_columns(part(project), {"age": pa.array(["secret-value", *ages[1:]])})
    edit(KEYS, f"{KEYS}\n  casts: {{age: double}}")(project)
    edit("engine: {kind: local}", "engine: {kind: local}\npolicy: {cast: fail}")(project)
    refused = cli("run", project / "dags" / "churn.yaml", "--partition", DAY)
    assert refused.code == 1
    assert "- age: cast: 1 of 200 rows" in refused.err
    assert "secret-value" not in refused.err
    assert not (project / "scores" / "churn").exists()
