"""Every hour of 2013 with scheduled departures from a New York airport, as weekly partitions.

A week is named by its Monday, in New York's time zone; the data are those of `batchdeploy.examples.flights`.
Outcomes are written to a separate file, which no scoring job reads.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from batchdeploy.examples.flights.prepare import WEATHER, _source

WEATHER_HOURS = 3
NUMBERS = ["weekday", "hour", "departures", *WEATHER]
FEATURES = ["origin", *NUMBERS]
SCHEMA = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("hour_id", "origin")]
    + [pa.field(name, pa.int64(), nullable=False) for name in ("weekday", "hour", "departures")]
    + [pa.field(name, pa.float64()) for name in WEATHER]
)


def main() -> None:
    """Writes data/hours (one folder a week) and data/delays/hours.parquet."""
    rows = hours(_source())
    folder = Path("data/hours")
    shutil.rmtree(folder, ignore_errors=True)
    for week, part in rows.groupby("week"):
        file = folder / f"week={week}" / "part-0.parquet"
        file.parent.mkdir(parents=True)
        table = pa.Table.from_pandas(part[SCHEMA.names], schema=SCHEMA, preserve_index=False)
        pq.write_table(table.replace_schema_metadata(None), file)
    labels = Path("data/delays/hours.parquet")
    labels.parent.mkdir(parents=True, exist_ok=True)
    rows[["hour_id", "week", "delay"]].to_parquet(labels, index=False)
    print(f"{len(rows):,} hours in {rows['week'].nunique()} weeks")


def hours(source: Path) -> pd.DataFrame:
    """One row per airport and hour: features, week, mean departure delay in minutes (null: no departure).

    Args:
        source: the folder of the package's CSV files.
    """
    flights = pd.read_csv(source / "flights.csv.zip", usecols=["origin", "time_hour", "dep_delay"])
    grouped = flights.groupby(["origin", "time_hour"])["dep_delay"]
    rows = grouped.agg(departures="size", delay="mean").reset_index()
    begins = pd.to_datetime(rows["time_hour"])
    local = begins.dt.tz_convert("America/New_York")
    rows["weekday"], rows["hour"] = local.dt.dayofweek + 1, local.dt.hour
    monday = local.dt.tz_localize(None).dt.normalize() - pd.to_timedelta(local.dt.dayofweek, unit="D")
    rows["week"] = monday.dt.strftime("%Y-%m-%d")
    rows["hour_id"] = local.dt.strftime("%Y%m%d-%H%z") + "-" + rows["origin"]
    rows["known_at"] = begins - pd.Timedelta(hours=WEATHER_HOURS)
    weather = pd.read_csv(source / "weather.csv")
    weather["known_at"] = pd.to_datetime(weather["time_hour"])
    weather = weather.drop_duplicates(["origin", "known_at"])[["origin", "known_at", *WEATHER]]
    merged = rows.merge(weather, on=["origin", "known_at"], how="left")
    return merged.sort_values("hour_id", ignore_index=True)


if __name__ == "__main__":
    main()
