"""Airflow's cron timetable of partitions, limited to a deployment's first and last partition.

A DAG's ``end_date`` would do for scheduled runs. But a run that is triggered with a logical date after it
gets no tasks from Airflow, and counts as a success.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pendulum
from airflow.exceptions import InvalidPartitionKeyError
from airflow.timetables.base import DagRunInfo, TimeRestriction
from airflow.timetables.trigger import CronPartitionTimetable

from batchdeploy.core.calendar import first_moment, key_problem, last_moment
from batchdeploy.core.deployment import PartitionSpec
from batchdeploy.core.schedule import period

# What catchup=True starts with where a deployment names no first partition.
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)


class PartitionTimetable(CronPartitionTimetable):
    """A run for each partition from first to last, both included.

    A backfill's dates are wall-clock readings in the schedule's zone, as in Airflow's own; one at midnight,
    as ``airflow backfill create --to-date 2013-02-08`` means it, stands for all of its day (or hour).

    Args:
        spec: the deployment's partition block.
    """

    def __init__(self, spec: PartitionSpec) -> None:
        super().__init__(
            spec.cron, timezone=spec.timezone, key_format=spec.format, run_offset=spec.run_offset
        )
        self._spec = spec
        bounds = {"timezone": spec.timezone, "key_format": spec.format}
        self._first = EARLIEST if spec.start is None else first_moment(spec.start, **bounds)
        self._last = None if spec.end is None else last_moment(spec.end, **bounds)

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> PartitionTimetable:
        """The timetable from the output of `serialize`."""
        return cls(PartitionSpec(**data))

    def serialize(self) -> dict[str, Any]:
        """The constructor arguments for the serialized DAG."""
        names = ("column", "grain", "schedule", "timezone", "key_format", "run_offset", "start", "end")
        return {name: getattr(self._spec, name) for name in names}

    def next_dagrun_info_v2(
        self, *, last_dagrun_info: DagRunInfo | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The next scheduled run, or None after the one for the last partition."""
        earliest = pendulum.instance(self._first)
        for _ in range(max(self._run_offset, 0)):
            earliest = self._get_prev(earliest)
        if restriction.earliest is not None:
            earliest = max(earliest, restriction.earliest)
        info = super().next_dagrun_info_v2(
            last_dagrun_info=last_dagrun_info, restriction=restriction._replace(earliest=earliest)
        )
        while info is not None and info.partition_date < self._first:
            run_after = self._get_next(info.run_after)
            partition_date, key = self._get_partition_info(run_date=run_after)
            info = DagRunInfo(
                run_after=run_after, partition_date=partition_date, partition_key=key, data_interval=None
            )
        if info is not None and self._last is not None and info.partition_date > self._last:
            return None
        return info

    def iter_partition_dagrun_infos(self, *, earliest: datetime, latest: datetime) -> Iterable[DagRunInfo]:
        """A backfill's runs, from date to date, both included."""
        if (latest.hour, latest.minute, latest.second) == (0, 0, 0):
            end = period(latest.replace(tzinfo=None), "hourly" if self._spec.grain == "hourly" else "daily")[
                1
            ]
            latest = (end - timedelta(seconds=1)).replace(tzinfo=latest.tzinfo)
        infos: Iterable[DagRunInfo] = super().iter_partition_dagrun_infos(earliest=earliest, latest=latest)
        return infos

    def _decode_partition_date(self, partition_key: str) -> datetime:
        # What Airflow answers where a run is triggered with a key: 2013-8-12 would be read, and would
        # name a partition that there is not.
        for problem in key_problem("partition_key", partition_key, self._key_format):
            raise InvalidPartitionKeyError(str(problem))
        decoded: datetime = super()._decode_partition_date(partition_key)
        return decoded
