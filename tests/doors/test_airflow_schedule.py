"""Airflow's door: which runs are due, which a backfill makes, and which keys a trigger takes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pendulum
import pytest

from batchdeploy.core.deployment import PartitionSpec
from batchdeploy.core.schedule import partition_at

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore")]


def timetable(**given: Any) -> Any:
    """The timetable as the scheduler has it, out of a serialized DAG."""
    from airflow.serialization.decoders import decode_timetable
    from airflow.serialization.encoders import encode_timetable

    from batchdeploy.airflow.timetable import PartitionTimetable

    made = PartitionTimetable(PartitionSpec(column="date", **given))
    read = decode_timetable(encode_timetable(made))
    assert isinstance(read, PartitionTimetable)
    assert read.serialize() == made.serialize()
    return read


@pytest.mark.parametrize(
    ("given", "due"),
    [
        ({"start": "2013-02-08", "end": "2013-02-10"}, ["2013-02-08", "2013-02-09", "2013-02-10"]),
        (
            {"start": "2013-02-08", "end": "2013-02-10", "run_offset": -1},
            ["2013-02-08", "2013-02-09", "2013-02-10"],
        ),
        (
            {"start": "2013-02-08", "end": "2013-02-10", "run_offset": 2},
            ["2013-02-08", "2013-02-09", "2013-02-10"],
        ),
        ({"grain": "weekly", "start": "2013-03-05", "end": "2013-03-18"}, ["2013-03-11", "2013-03-18"]),
        (
            {"grain": "monthly", "start": "2013-02", "end": "2013-03", "run_offset": -1},
            ["2013-02", "2013-03"],
        ),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Pacific/Auckland"])
def test_runs_are_due_from_the_first_partition_to_the_last(
    given: dict[str, Any], due: list[str], zone: str
) -> None:
    from airflow.timetables.base import TimeRestriction

    table = timetable(timezone=zone, **given)
    restriction = TimeRestriction(earliest=None, latest=None, catchup=True)
    keys, last = [], None
    while (last := table.next_dagrun_info_v2(last_dagrun_info=last, restriction=restriction)) is not None:
        keys.append(last.partition_key)
        wall = last.run_after.in_timezone(zone).replace(tzinfo=None)
        assert partition_at(datetime.fromisoformat(wall.isoformat()), table._spec) == last.partition_key
    assert keys == due


def test_nothing_is_due_over_data_that_has_ended() -> None:
    from airflow.timetables.base import TimeRestriction

    restriction = TimeRestriction(earliest=pendulum.datetime(1900, 1, 1), latest=None, catchup=False)
    assert (
        timetable(end="2013-12-31").next_dagrun_info_v2(last_dagrun_info=None, restriction=restriction)
        is None
    )
    due = timetable().next_dagrun_info_v2(last_dagrun_info=None, restriction=restriction)
    assert due.partition_key is not None


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize(
    ("grain", "until", "keys"),
    [
        ("daily", "2013-02-08", ["2013-02-07", "2013-02-08"]),
        ("daily", "2013-02-08T23:59", ["2013-02-07", "2013-02-08"]),
        ("daily", "2013-02-08T05:00", ["2013-02-07"]),
        ("hourly", "2013-02-07T01:59", ["2013-02-07T00", "2013-02-07T01"]),
        ("hourly", "2013-02-07", ["2013-02-07T00"]),
        ("weekly", "2013-02-11", ["2013-02-11"]),
        ("monthly", "2013-03-01", ["2013-03"]),
    ],
)
def test_a_backfill_includes_the_day_that_its_last_date_names(
    grain: str, until: str, keys: list[str], zone: str
) -> None:
    if grain == "hourly" and zone == "America/New_York":
        zone = "Etc/GMT+5"
    table = timetable(grain=grain, timezone=zone)
    bounds = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in ("2013-02-07", until)]
    infos = table.iter_partition_dagrun_infos(earliest=bounds[0], latest=bounds[1])
    assert [info.partition_key for info in infos] == keys


def test_a_key_that_is_written_otherwise_is_refused_where_a_run_is_triggered() -> None:
    from airflow.exceptions import InvalidPartitionKeyError

    table = timetable(timezone="America/New_York")
    assert table.resolve_partition_date("2013-08-12") == datetime(2013, 8, 12, 4, tzinfo=UTC)
    for key, said in (("2013-8-12", "which is 2013-08-12"), ("12 Aug", "is not written as '%Y-%m-%d'")):
        with pytest.raises(InvalidPartitionKeyError, match=said):
            table.resolve_partition_date(key)
