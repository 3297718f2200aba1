"""Columns come out as their values are, whatever a writer made of them, or the rows are named."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from score_jobs import score_job, scoring_spec
from tests_support import text_array

from batchdeploy.adapters.parquet_splits import inspect, make_splits, read_frame, score_split
from batchdeploy.adapters.parquet_splits.row_reader import read_batches
from batchdeploy.adapters.sources.folder import FolderSource
from batchdeploy.core.deployment import DataRef, PartitionSpec
from batchdeploy.core.predicates import Predicate
from batchdeploy.core.records import Column, DataPin
from batchdeploy.core.scoring_spec import ScoringSpec
from batchdeploy.core.work import SplitResult
from batchdeploy.errors import BatchdeployError
from batchdeploy.kernel.columns import plain_batch
from batchdeploy.kernel.row_filter import FilteredBatch

REF = DataRef(path="data", partition=PartitionSpec(column="date"), keys=("id",))
SPEC = scoring_spec(keep=("note",), max_failures=1)
YEAR_3000 = dt.datetime(3000, 1, 1, 12, 30, 0, 5)


def pinned(root: Path, table: pa.Table, **options: Any) -> DataPin:
    """A partition of one file."""
    file = root / "data" / "date=2024-01-01" / "part-0.parquet"
    file.parent.mkdir(parents=True)
    pq.write_table(table, file, **options)
    return FolderSource(root).pin(REF, "2024-01-01")


def with_notes(notes: Any, **columns: Any) -> pa.Table:
    given = {"id": [f"k{n}" for n in range(len(notes))], "x": np.arange(len(notes), dtype="float64")}
    return pa.table(given | {"note": notes} | columns)


def read(pin: DataPin, spec: ScoringSpec = SPEC) -> list[FilteredBatch]:
    return [meant for split in make_splits(pin) for meant in read_batches(split, spec)]


def scored(root: Path, pin: DataPin, spec: ScoringSpec = SPEC) -> tuple[pa.Table, pa.Table, SplitResult]:
    """What is published of the only split, what is quarantined, and the counts."""
    (split,) = make_splits(pin)
    job = score_job(spec, staging=str(root / "staging"))
    (root / "staging").mkdir()
    result = score_split(split, job, lambda _: lambda frame: frame["x"].to_numpy())
    assert result.keys_in == result.keys_out
    found = [
        pq.read_table(root / "staging" / kind / file.path) if file else None
        for kind, file in (("scored", result.scored), ("quarantine", result.quarantine))
    ]
    return found[0], found[1], result


TEXTS = ["Bern", "Z\udcfcrich", None, "Genève", "", "a\udcff\udcfe"]
ENCODED = {
    "text": lambda: text_array(TEXTS),
    "a dictionary": lambda: pa.DictionaryArray.from_arrays(
        pa.array([0, 1, None, 2, 3, 4]), text_array([TEXTS[0], TEXTS[1], *TEXTS[3:]])
    ),
    "large text": lambda: text_array(TEXTS).cast(pa.large_string()),
    "views": lambda: text_array(TEXTS).cast(pa.string_view()),
    "a slice": lambda: text_array(["\udce9", *TEXTS]).slice(1),
}


@pytest.mark.parametrize("make", ENCODED.values(), ids=ENCODED.keys())
def test_text_that_is_not_utf8_is_escaped_and_named(make: Any) -> None:
    batch, invalid_text = plain_batch(pa.record_batch({"note": make()}))
    assert batch.column("note").to_pylist() == ["Bern", "Z\\xfcrich", None, "Genève", "", "a\\xff\\xfe"]
    assert batch.schema.field("note").type == pa.string()
    assert {name: mask.nonzero()[0].tolist() for name, mask in invalid_text.items()} == {"note": [1, 5]}


@pytest.mark.parametrize("texts", [["Bern", None], ["Zürich", ""], [None, None], [], ["\x00", "\U0001f600"]])
def test_text_that_is_utf8_is_left_alone(texts: list[str | None]) -> None:
    values = pa.array(texts, pa.string())
    batch, invalid_text = plain_batch(pa.record_batch({"note": values}))
    assert batch.column("note").equals(values)
    assert invalid_text == {}


@pytest.mark.parametrize("column", ["id", "note", "name"])
def test_such_a_row_is_quarantined_whatever_it_is_for(tmp_path: Path, column: str) -> None:
    texts = text_array(["a", "b\udcfc", "c"])
    table = with_notes(["n"] * 3, name=["m"] * 3)
    table = table.set_column(table.schema.get_field_index(column), column, texts)
    spec = replace(SPEC, inputs=(*SPEC.inputs, Column(name="name", type="string")))
    published, quarantined, result = scored(tmp_path, pinned(tmp_path, table), spec)
    assert published["y"].to_pylist() == [0.0, 2.0]
    assert quarantined["_reason"].to_pylist() == [f"not UTF-8: {column}"]
    assert quarantined["_source_row"].to_pylist() == [1]
    assert quarantined[column].to_pylist() == ["b\\xfc"]
    assert [(f.rule, f.column, f.action, f.rows) for f in result.findings] == [
        ("invalid_text", column, "quarantine", 1)
    ]


def test_rows_that_are_not_meant_take_their_faults_with_them(tmp_path: Path) -> None:
    table = with_notes(text_array(["a\udcfc", "b", "c\udcfc", "d\udcfc"]))
    where = (Predicate(column="x", op="gt", value=0.5), Predicate(column="x", op="ne", value=2))
    _, quarantined, result = scored(tmp_path, pinned(tmp_path, table), replace(SPEC, where=where))
    assert result.rows_left_out == 2
    assert quarantined["_source_row"].to_pylist() == [3]


def test_a_validator_sees_such_text_escaped(tmp_path: Path) -> None:
    pin = pinned(tmp_path, with_notes(text_array(["a", "b\udcfc"])))
    assert read_frame(pin, ("date", "2024-01-01"))["note"].to_list() == ["a", "b\\xfc"]


@pytest.mark.parametrize("stored", [True, False], ids=["as pandas writes it", "as Spark writes it"])
def test_int96_is_read_in_microseconds(tmp_path: Path, stored: bool) -> None:
    times = pa.array(
        [YEAR_3000, dt.datetime(1583, 1, 1), None, dt.datetime(2024, 2, 29, 1)], pa.timestamp("us")
    )
    table = with_notes(times)
    pin = pinned(tmp_path, table, use_deprecated_int96_timestamps=True, store_schema=stored)
    assert inspect(pin, engine="spark").columns[2].type == "timestamp[us]"
    (meant,) = read(pin)
    assert meant.batch.column("note").equals(times)
    assert meant.faults == ()
    assert pa.array(read_frame(pin, ("date", "2024-01-01"))["note"]).cast(pa.timestamp("us")).equals(times)
    published, _, _ = scored(tmp_path, pin)
    assert published["note"].combine_chunks().equals(times)


def test_int96_as_a_key_stays_what_it_is(tmp_path: Path) -> None:
    times = pa.array([YEAR_3000, YEAR_3000 + dt.timedelta(days=1)], pa.timestamp("us"))
    table = pa.table({"id": times, "x": [1.0, 2.0], "note": ["a", "b"]})
    published, _, _ = scored(tmp_path, pinned(tmp_path, table, use_deprecated_int96_timestamps=True))
    assert published["id"].combine_chunks().equals(times)


def test_int96_that_microseconds_cannot_tell_is_quarantined(tmp_path: Path) -> None:
    times = pa.array(np.array(["2024-01-01T00:00:00.000001", "2024-01-01T00:00:00.000000001"], "M8[ns]"))
    pin = pinned(tmp_path, with_notes(times), use_deprecated_int96_timestamps=True)
    published, quarantined, _ = scored(tmp_path, pin)
    assert published["id"].to_pylist() == ["k0"]
    assert quarantined["_reason"].to_pylist() == ["finer than microseconds, or beyond them: note"]


def test_nanoseconds_are_taken_and_written_in_microseconds(tmp_path: Path) -> None:
    times = pd.Series(pd.to_datetime(["2024-01-01T00:00:00.000001", None, "1700-01-01T00:00:00.000001001"]))
    assert times.dtype == "datetime64[ns]"
    pin = pinned(tmp_path, with_notes(pa.Array.from_pandas(times)))
    assert inspect(pin, engine="spark").rows == 3
    published, quarantined, _ = scored(tmp_path, pin)
    assert published.schema.field("note").type == pa.timestamp("us")
    assert published["note"].to_pylist() == [dt.datetime(2024, 1, 1, 0, 0, 0, 1), None]
    assert quarantined["id"].to_pylist() == ["k2"]


def test_a_model_gets_nanoseconds_as_they_are(tmp_path: Path) -> None:
    times = pa.array(np.array(["2024-01-01T00:00:00.000000001", "1800-01-01"], "M8[ns]"))
    pin = pinned(tmp_path, with_notes(["a", "b"], at=times))
    job = score_job(replace(SPEC, inputs=(Column(name="at", type="datetime"),)), staging=str(tmp_path))
    seen: list[Any] = []
    (split,) = make_splits(pin)
    score_split(split, job, lambda _: lambda frame: (seen.append(frame["at"]), np.ones(len(frame)))[1])
    assert seen[-1].to_numpy().tolist() == times.to_numpy().tolist()


@pytest.mark.parametrize("kind", [pa.string_view(), pa.binary_view()])
def test_views_are_read_as_what_they_are(tmp_path: Path, kind: pa.DataType) -> None:
    cells = ["short", None, "longer than twelve bytes"]
    values = pa.array([c if kind == pa.string_view() or c is None else c.encode() for c in cells], kind)
    published, _, _ = scored(tmp_path, pinned(tmp_path, with_notes(values)))
    assert published["note"].to_pylist() == values.to_pylist()
    assert str(published.schema.field("note").type) == str(kind).removesuffix("_view")


def shared_cells(rows: int, *, views: bool) -> pa.Array:
    """Rows of a megabyte, which share it."""
    cell = b"x" * 2**20
    if not views:
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, "int32")), pa.array([cell.decode()]))
    view = np.tile(np.array([len(cell), int.from_bytes(cell[:4], "little"), 0, 0], "int32"), rows)
    return pa.Array.from_buffers(
        pa.string_view(), rows, [None, pa.py_buffer(view.tobytes()), pa.py_buffer(cell)]
    )


@pytest.mark.parametrize("views", [False, True], ids=["a dictionary", "views"])
def test_large_cells_that_share_their_bytes_are_not_taken_apart_all_at_once(views: bool) -> None:
    """2,500 rows of a megabyte are more than Arrow's texts hold."""
    shared = shared_cells(2_500, views=views)
    with pytest.raises(MemoryError):
        plain_batch(pa.record_batch({"note": shared}))
    few, _ = plain_batch(pa.record_batch({"note": shared.slice(0, 3)}))
    assert few.column("note").to_pylist() == ["x" * 2**20] * 3


def test_where_a_batch_is_too_large_its_split_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A lower limit, because gigabytes would be too much for a test.
    monkeypatch.setattr("batchdeploy.kernel.columns.MAX_BYTES", 1000)
    note = pa.DictionaryArray.from_arrays(pa.array(np.zeros(64, "int32")), pa.array(["x" * 100]))
    pin = pinned(tmp_path, with_notes(note))
    published, _, _ = scored(tmp_path, pin, replace(SPEC, batch_rows=64))
    assert published.num_rows == 64
    assert len(read_frame(pin, ("date", "2024-01-01"))) == 64


def test_a_column_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    pin = pinned(tmp_path, with_notes(["a"]), store_schema=False)
    file = Path(pin.files[0].location)
    file.write_bytes(file.read_bytes().replace(b"note", b"n\xffte"))
    again = FolderSource(tmp_path).pin(REF, "2024-01-01")
    with pytest.raises(BatchdeployError, match=r"part-0\.parquet: cannot be read as Parquet"):
        inspect(again)
