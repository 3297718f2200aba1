"""Faults planted into real days: the flights of 2013, scored by models trained on January."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from batchdeploy.core.deployment import DriftSpec
from batchdeploy.core.drift import judge_calibrated
from batchdeploy.core.drift_calibration import Calibration, calibrate
from batchdeploy.core.drift_sentences import headline
from batchdeploy.core.profiles import Reference
from batchdeploy.core.records import DriftReport
from batchdeploy.examples.flights import prepare, train
from batchdeploy.kernel.profiling import count, empty
from batchdeploy.kernel.reference_column import column_of_partitions

OUTPUT = "late_probability"
BLIZZARD = ("2013-02-08", "2013-02-09")
SETTINGS = argparse.Namespace(iterations=100, learning_rate=0.08, inverse_penalty=0.3)
Days = dict[str, pd.DataFrame]


class Fault(NamedTuple):
    """A change of a day's rows, and the columns that should be named."""

    columns: tuple[str, ...]
    change: Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]


def _set(column: str, values: Callable[[pd.DataFrame, np.random.Generator], Any]) -> Fault:
    return Fault((column,), lambda day, random: day.assign(**{column: values(day, random)}))


def _some(day: pd.DataFrame, random: np.random.Generator, share: float) -> Any:
    return random.random(len(day)) < share


# The first eight and the challenger are the standing table; the others are from incidents that many have had.
FAULTS: dict[str, Fault] = {
    "`humid` null in 20% of rows": _set("humid", lambda d, r: d["humid"].mask(_some(d, r, 0.2))),
    "`wind_speed` stuck at one value": _set("wind_speed", lambda d, _: d["wind_speed"].median()),
    "`visib` all null": _set("visib", lambda *_: np.nan),
    "`carrier` in lower case": _set("carrier", lambda d, _: d["carrier"].str.lower()),
    "`distance` in km": _set("distance", lambda d, _: d["distance"] * 1.609344),
    "`sched_dep_minute` an hour off": _set("sched_dep_minute", lambda d, _: d["sched_dep_minute"] + 60),
    "one airport missing": Fault(("origin",), lambda d, _: d[d["origin"] != "LGA"]),
    "`temp` in °C": _set("temp", lambda d, _: (d["temp"] - 32) / 1.8),
    "the challenger answers": _set(OUTPUT, lambda d, _: d["challenger"]),
    "`plane_seats` -999 in 5% of rows": _set(
        "plane_seats", lambda d, r: d["plane_seats"].mask(_some(d, r, 0.05), -999.0)
    ),
    "`plane_year` 0 where it was null": _set("plane_year", lambda d, _: d["plane_year"].fillna(0.0)),
    "`pressure` in inches": _set("pressure", lambda d, _: d["pressure"] / 33.8639),
    "`dest` cut to two letters": _set("dest", lambda d, _: d["dest"].str[:2]),
    "only the first half of the day": Fault(
        ("sched_dep_minute", "sched_arr_minute"),
        lambda d, _: d.sort_values("sched_dep_minute").head(len(d) // 2),
    ),
    "the other class's probability": _set(OUTPUT, lambda d, _: 1 - d[OUTPUT]),
    "one answer for all rows": _set(OUTPUT, lambda d, _: d[OUTPUT].mean()),
}


def scored_days(first: str = "2013-01-01", last: str = "2013-12-31") -> Days:
    """Each day's features, with the champion's and the challenger's probabilities.

    January's are out of fold, as its reference has them.
    """
    rows = prepare.features(prepare._source(), weather_hours=3)
    rows = rows[(rows["date"] >= "2013-01-01") & (rows["date"] <= last)].reset_index(drop=True)
    january = rows[rows["date"] < "2013-02-01"]
    seen = january[january["late"].notna()]
    late = seen["late"].to_numpy(dtype=bool)
    for column, kind in ((OUTPUT, "boosting"), ("challenger", "logistic")):
        model = train.build(kind, SETTINGS)
        answers = model.fit(seen[prepare.FEATURES], late).predict_proba(rows[prepare.FEATURES])[:, 1]
        rows[column] = answers
        held_out = train.out_of_fold(train.build(kind, SETTINGS), seen, late)
        rows.loc[seen.index, column] = held_out
    rows = rows[rows["date"] >= first]
    return {str(day): frame for day, frame in rows.groupby("date")}


def reference_of(days: Sequence[pd.DataFrame]) -> Reference:
    """The reference of these days, as `build_reference` makes it."""
    roles = [("feature", name) for name in prepare.FEATURES] + [("output", OUTPUT)]
    columns = [
        column_of_partitions(name, role, [pa.Array.from_pandas(day[name]) for day in days])  # type: ignore[arg-type]
        for role, name in roles
    ]
    return Reference(description="flights", columns=tuple(columns))


def judge_day(calibration: Calibration, day: pd.DataFrame, spec: DriftSpec) -> DriftReport:
    """The verdict on one day."""
    profiles = [
        count(empty(profile), pa.Array.from_pandas(day[profile.name])) for profile in calibration.profiles
    ]
    return judge_calibrated(calibration, profiles, spec, run_id="benchmark")


def ordinary(days: Iterable[str]) -> list[str]:
    """February and March without the blizzard."""
    return [day for day in days if "2013-02-01" <= day < "2013-04-01" and day not in BLIZZARD]


def fault_table(days: Days, spec: DriftSpec, *, faults: dict[str, Fault] | None = None) -> pd.DataFrame:
    """For each fault, the share of ordinary days on which it is found, and on which its column is named."""
    calibration = calibrate(reference_of([days[day] for day in days if day < "2013-02-01"]))
    assert calibration is not None
    random, judged = np.random.default_rng(1), ordinary(days)
    rows = []
    for name, fault in {"(none)": Fault((), lambda day, _: day), **(faults or FAULTS)}.items():
        reports = [judge_day(calibration, fault.change(days[day], random), spec) for day in judged]
        named = Counter(
            f"{row.column}: {row.statistic}" for one in reports for row in one.statistics if row.alarm
        )
        rows.append(
            {
                "fault": name,
                "days": len(reports),
                "alarm": np.mean([bool(one.alarms) for one in reports]),
                "named": np.mean([bool(set(one.alarms) & set(fault.columns)) for one in reports]),
                "by": ", ".join(f"{what} {times}" for what, times in named.most_common(3)),
            }
        )
    return pd.DataFrame(rows)


def rolling_table(days: Days, spec: DriftSpec, *, previous: int) -> pd.DataFrame:
    """Each day judged by the ``previous`` days before it, and what alarmed."""
    names, rows = list(days), []
    for place, name in enumerate(names[previous:]):
        calibration = calibrate(reference_of([days[one] for one in names[place : place + previous]]))
        assert calibration is not None
        report = judge_day(calibration, days[name], spec)
        rows.append({"day": name, "alarm": bool(report.alarms), "sentence": headline(report)})
    return pd.DataFrame(rows)
