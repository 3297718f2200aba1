"""The flights' plane columns by a lookup of the planes table, from the example's own functions."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchdeploy.adapters.parquet_splits import inspect_input, read_frame
from batchdeploy.adapters.sources.folder import FolderSource
from batchdeploy.adapters.sources.lookup_files import LookupFiles
from batchdeploy.adapters.sources.lookup_tables import LookupTables
from batchdeploy.adapters.sources.lookups import LookupSource
from batchdeploy.adapters.sources.table_files import TableFiles
from batchdeploy.core.deployment import DataRef, LookupSpec, PartitionSpec
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.examples.flights import prepare

DAYS = ("2013-02-01", "2013-07-04")
NO_TABLES = LookupTables(opening={}, files=TableFiles(StorageSpec()))
PLANE = ["plane_year", "plane_seats"]
COLUMNS = {"plane_year": "year", "plane_seats": "seats"}


@pytest.fixture(scope="module")
def prepared() -> pd.DataFrame:
    """The flights of two days, with the columns that the example joined."""
    flights = prepare.features(prepare._source(), weather_hours=3)
    return flights[flights["date"].isin(DAYS)].reset_index(drop=True)


def planes() -> pa.Table:
    frame = pd.read_csv(prepare._source() / "planes.csv")[["tailnum", "year", "seats"]]
    return pa.Table.from_pandas(frame, preserve_index=False)


def looked_up(root: Path, flights: pd.DataFrame, table: pa.Table, as_of: str | None = None) -> pd.DataFrame:
    """The flights without their plane columns, as a validator and the model get them with the lookup."""
    names = [name for name in prepare.SCHEMA.names if name not in PLANE]
    schema = pa.schema([prepare.SCHEMA.field(name) for name in names])
    for day, rows in flights.groupby("date"):
        file = root / "data" / "flights" / f"date={day}" / "part-0.parquet"
        file.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pandas(rows[names], schema=schema, preserve_index=False), file)
    pq.write_table(table, root / "data" / "planes.parquet")
    lookup = LookupSpec(path="data/planes.parquet", keys=("tailnum",), columns=COLUMNS, as_of=as_of)
    spec = PartitionSpec(column="date", timezone="America/New_York")
    ref = DataRef(path="data/flights", partition=spec, keys=("flight_id",), lookups=(lookup,))
    source, frames = LookupSource(FolderSource(root), LookupFiles(root=root), NO_TABLES), []
    for day in DAYS:
        pin = source.pin(ref, day)
        assert {*PLANE} < {column.name for column in inspect_input(pin).columns}
        frames.append(read_frame(pin, ("date", day)))
    return pd.concat(frames, ignore_index=True)


def by_flight(frame: pd.DataFrame) -> pd.DataFrame:
    plain = frame.set_index("flight_id")[PLANE].astype("float64")
    return plain.sort_index()


def test_looked_up_plane_columns_are_the_prepared_ones(tmp_path: Path, prepared: pd.DataFrame) -> None:
    found = looked_up(tmp_path, prepared, planes())
    pd.testing.assert_frame_equal(by_flight(found), by_flight(prepared), check_index_type=False)
    assert len(found) == len(prepared)


def test_a_plane_that_was_registered_after_the_day_is_not_seen(
    tmp_path: Path, prepared: pd.DataFrame
) -> None:
    known = prepared[prepared["plane_seats"].notna()]
    first, second = ({*known[known["date"] == day]["tailnum"]} for day in DAYS)
    late = min(first & second)
    table = planes()
    times: list[Any] = [
        dt.date(2013, 2, 2) if plane == late else dt.date(2013, 2, 1)
        for plane in table.column("tailnum").to_pylist()
    ]
    table = table.append_column("registered", pa.array(times, pa.date32()))
    found = looked_up(tmp_path, prepared, table, "registered")
    unseen = (prepared["tailnum"] == late) & (prepared["date"] == DAYS[0])
    expected = by_flight(prepared.assign(**{name: prepared[name].mask(unseen) for name in PLANE}))
    pd.testing.assert_frame_equal(by_flight(found), expected, check_index_type=False)
    seats = found[found["tailnum"] == late].groupby("date")["plane_seats"].count()
    assert seats[DAYS[0]] == 0
    assert seats[DAYS[1]] > 0
