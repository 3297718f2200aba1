"""Which row of a table each row gets: by its keys, as they were when the partition ended."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchdeploy.core.pins import LookupPin
from batchdeploy.errors import DataError
from batchdeploy.kernel import lookups
from batchdeploy.kernel.lookups import add_lookups, index_lookup, rows_before

DAY = dt.date(2024, 3, 2)
END = "2024-03-03T00:00:00-05:00"


def pin(keys: tuple[str, ...] = ("k",), *, as_of: str | None = None, until: str | None = None) -> LookupPin:
    pairs = tuple((key, key) for key in keys)
    return LookupPin(path="t", keys=pairs, columns=(("new", "v"),), as_of=as_of, until=until, files=())


def looked_up(rows: dict[str, Any], table: dict[str, Any], wanted: LookupPin) -> list[Any]:
    before = pa.record_batch(rows)
    seen = rows_before(index_lookup(pa.table(table), wanted), wanted.until)
    after = add_lookups(before, [seen])
    assert after.select(before.schema.names) == before
    values: list[Any] = after.column("new").to_pylist()
    return values


KEYS: dict[str, tuple[pa.Array, pa.Array]] = {
    "texts": (pa.array(["b", "x", None, "a", "b"]), pa.array(["a", "b", "c", None])),
    "dictionaries": (
        pa.array(["b", "x", None, "a", "b"]).dictionary_encode(),
        pa.array(["a", "b", "c", None], pa.large_string()),
    ),
    "integers of two widths": (
        pa.array([2, 9, None, 1, 2], pa.int16()),
        pa.array([1, 2, 3, None], pa.uint32()),
    ),
    "large integers": (
        pa.array([2**64 - 2, 9, None, 1, 2**64 - 2], pa.uint64()),
        pa.array([1, 2**64 - 2, 3, None], pa.uint64()),
    ),
    "dates": (
        pa.array([DAY, dt.date(1999, 1, 1), None, dt.date(2024, 3, 1), DAY], pa.date32()),
        pa.array([dt.date(2024, 3, 1), DAY, dt.date(2024, 3, 4), None], pa.date64()),
    ),
}


@pytest.mark.parametrize(("mine", "its"), KEYS.values(), ids=KEYS.keys())
def test_each_row_gets_the_row_of_its_key_or_nulls(mine: pa.Array, its: pa.Array) -> None:
    found = looked_up({"k": mine}, {"k": its, "v": [1.5, 2.5, 3.5, 4.5]}, pin())
    assert found == [2.5, None, None, 1.5, 2.5]


def test_all_keys_must_match() -> None:
    rows = {"k": ["a", "a", "b", None], "n": [1, 2, 2, 1]}
    table = {"k": ["b", "a", "b"], "n": [2, 1, 1], "v": ["b2", "a1", "b1"]}
    assert looked_up(rows, table, pin(("k", "n"))) == ["a1", None, "b2", None]


def test_keys_of_equal_hashes_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "hash_keys", lambda keys: np.zeros(keys.num_rows, "uint64"))
    table = {"k": ["a", "b", "c"], "v": [1, 2, 3]}
    assert looked_up({"k": ["c", "x", "a", "b"]}, table, pin()) == [3, None, 1, 2]


def at(*times: str, zone: str | None = None, unit: str = "us") -> pa.Array:
    return pa.array([dt.datetime.fromisoformat(time) for time in times], pa.timestamp(unit, zone))


# The partition ends at midnight in New York, five hours after midnight in UTC.
TIMES: dict[str, pa.Array] = {
    "dates": pa.array([dt.date(2024, 2, 1), DAY, dt.date(2024, 3, 3)]),
    "times of the partition's clock": at("2024-03-01", "2024-03-02T23:59:59.999999", "2024-03-03"),
    "nanoseconds": at("2024-03-01", "2024-03-02T23:59:59.999999", "2024-03-03", unit="ns"),
    "times with a zone": at(
        "2024-03-01T00:00Z", "2024-03-03T04:59:59.999999Z", "2024-03-03T05:00Z", zone="UTC"
    ),
    "times of another zone": at(
        "2024-03-01T00:00Z", "2024-03-03T04:59:59Z", "2024-03-03T05:00Z", zone="Asia/Tokyo", unit="s"
    ),
}


@pytest.mark.parametrize("times", TIMES.values(), ids=TIMES.keys())
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_the_newest_row_before_the_end_is_taken_and_later_ones_are_not_seen(
    times: pa.Array, order: list[int]
) -> None:
    table = {"k": ["a", "a", "a"], "since": times, "v": ["old", "right", "later"]}
    shuffled = pa.table(table).take(order).to_pydict()
    shuffled["since"] = times.take(pa.array(order))
    wanted = pin(as_of="since", until=END)
    assert looked_up({"k": ["a", "b"]}, shuffled, wanted) == ["right", None]


def test_a_key_that_came_later_is_not_seen() -> None:
    table = {"k": ["a"], "since": [dt.date(2024, 3, 3)], "v": ["later"]}
    assert looked_up({"k": ["a"]}, table, pin(as_of="since", until=END)) == [None]


BAD: dict[str, tuple[dict[str, Any], LookupPin, str]] = {
    "a key twice": ({"k": ["a", "b", "a"], "v": [1, 2, 1]}, pin(), "1 time more than one row.*k=a"),
    "two keys twice": (
        {"k": ["a", "a"], "n": [1, 1], "v": [1, 2]},
        pin(("k", "n")),
        "more than one row.*k=a, n=1",
    ),
    "a key and time twice, even later ones": (
        {"k": ["a", "a"], "since": [dt.date(2025, 1, 1)] * 2, "v": [1, 2]},
        pin(as_of="since", until=END),
        "keep one for each key and time.*k=a, since=2025-01-01",
    ),
    "no time": (
        {"k": ["a", "b"], "since": pa.array([None, DAY], pa.date32()), "v": [1, 2]},
        pin(as_of="since", until=END),
        "since: says nothing for some rows",
    ),
}


@pytest.mark.parametrize(("table", "wanted", "message"), BAD.values(), ids=BAD.keys())
def test_ambiguous_tables_are_refused(table: dict[str, Any], wanted: LookupPin, message: str) -> None:
    with pytest.raises(DataError, match=message):
        index_lookup(pa.table(table), wanted)


def test_keys_that_are_null_twice_are_no_duplicates() -> None:
    assert looked_up({"k": [None, "a"]}, {"k": [None, None, "a"], "v": [1, 2, 3]}, pin()) == [None, 3]


MADE = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers(1, 9)), unique_by=lambda r: r
)


@given(table=MADE, rows=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 2)), min_size=1))
def test_it_is_what_a_dictionary_gives(
    table: list[tuple[str, int, int]], rows: list[tuple[str, int]]
) -> None:
    base, end = dt.date(2024, 3, 1), 4
    known: dict[tuple[str, int], int] = {}
    for text, number, day in sorted(table, key=lambda row: row[2]):
        if day < end:
            known[text, number] = day
    made = {
        "k": pa.array([row[0] for row in table], pa.string()),
        "n": pa.array([row[1] for row in table], pa.int64()),
        "since": pa.array([base + dt.timedelta(row[2]) for row in table], pa.date32()),
        "v": pa.array([row[2] for row in table], pa.int64()),
    }
    wanted = pin(("k", "n"), as_of="since", until=f"{base + dt.timedelta(end)}T00:00:00+00:00")
    given_rows = {"k": [row[0] for row in rows], "n": [row[1] for row in rows]}
    assert looked_up(given_rows, made, wanted) == [known.get(row) for row in rows]
