"""Which partition a moment means, held against Airflow's own timetable where that can tell."""

from __future__ import annotations

from datetime import datetime

import pytest

from batchdeploy.core.deployment import PartitionSpec
from batchdeploy.core.schedule import is_due, partition_at

WEEKDAYS = "0 6 * * 1-5"


@pytest.mark.parametrize(
    ("moment", "given", "partition"),
    [
        ("2013-02-08 00:00", {}, "2013-02-08"),
        ("2013-02-08 23:59", {}, "2013-02-08"),
        ("2013-02-08 00:00", {"run_offset": -1}, "2013-02-07"),
        ("2013-02-08 06:00", {"run_offset": -1}, "2013-02-07"),
        ("2013-02-08 23:59", {"run_offset": 2}, "2013-02-10"),
        ("2013-02-08 05:59", {"grain": "hourly"}, "2013-02-08T05"),
        ("2013-02-08 00:07", {"grain": "hourly", "run_offset": -1}, "2013-02-07T23"),
        # Weeks begin on the schedule's Mondays, whatever day of one was said.
        ("2013-03-04 00:00", {"grain": "weekly"}, "2013-03-04"),
        ("2013-03-07 12:00", {"grain": "weekly"}, "2013-03-04"),
        ("2013-03-10 23:59", {"grain": "weekly"}, "2013-03-04"),
        ("2013-03-07 12:00", {"grain": "weekly", "run_offset": -1}, "2013-02-25"),
        ("2013-03-04 06:00", {"grain": "weekly", "run_offset": -1}, "2013-02-25"),
        ("2013-03-07 12:00", {"grain": "weekly", "run_offset": 1}, "2013-03-11"),
        ("2013-02-14 00:00", {"grain": "monthly"}, "2013-02"),
        ("2013-02-01 00:00", {"grain": "monthly", "schedule": "30 2 2 * *", "run_offset": -1}, "2013-01"),
        ("2013-12-31 00:00", {"grain": "monthly", "run_offset": 1}, "2014-01"),
        # Steps of a schedule of weekdays: Friday is the run before Monday's, and before a Saturday.
        ("2013-02-11 06:00", {"schedule": WEEKDAYS, "run_offset": -1}, "2013-02-08"),
        ("2013-02-11 00:00", {"schedule": WEEKDAYS, "run_offset": -1}, "2013-02-08"),
        ("2013-02-09 00:00", {"schedule": WEEKDAYS, "run_offset": -1}, "2013-02-08"),
        ("2013-02-09 00:00", {"schedule": WEEKDAYS}, "2013-02-09"),
        ("2013-02-09 00:00", {"schedule": WEEKDAYS, "run_offset": 1}, "2013-02-11"),
        # Two runs a day: a step back from the evening's is the morning's.
        ("2013-02-08 18:00", {"schedule": "0 6,18 * * *", "run_offset": -1}, "2013-02-08"),
    ],
)
def test_a_moment_means_the_partition_of_its_period(
    moment: str, given: dict[str, object], partition: str
) -> None:
    spec = PartitionSpec(column="date", **given)  # type: ignore[arg-type]
    assert partition_at(datetime.fromisoformat(moment), spec) == partition


@pytest.mark.parametrize(
    ("key", "given", "due"),
    [
        ("2013-02-09", {}, True),
        ("2013-02-09", {"schedule": WEEKDAYS}, False),
        ("2013-03-04", {"grain": "weekly"}, True),
        ("2013-03-05", {"grain": "weekly"}, False),
        ("2013-02", {"grain": "monthly", "schedule": "30 2 2 * *"}, True),
        ("2013-02-08T00", {"grain": "hourly"}, True),
        ("2013-02-08T07", {"grain": "hourly", "schedule": "15 8-18 * * *"}, False),
    ],
)
def test_a_partition_is_due_where_the_schedule_has_it(key: str, given: dict[str, object], due: bool) -> None:
    assert is_due(key, PartitionSpec(column="date", **given)) is due  # type: ignore[arg-type]
