"""Partitions that the calendar expects and that have no rows: named, and treated the same by every door."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests_support import Result, customers, edit, write_day

import batchdeploy as bd
from batchdeploy.assembly import open_toolbox
from batchdeploy.core.deployment import PartitionSpec
from batchdeploy.core.schedule import expected
from batchdeploy.errors import PartitionError

pytestmark = pytest.mark.slow

GONE = "2024-03-02"
RANGE = ("--from", "2024-03-01", "--to", "2024-03-03")
Cli = Callable[..., Result]


@pytest.fixture
def gap(project: Path, deployment: Path) -> Path:
    """A deployment whose second day has not come."""
    shutil.rmtree(project / "data" / "customers" / f"date={GONE}")
    return deployment


def test_a_range_with_a_missing_day_is_refused_by_name(gap: Path, cli: Cli) -> None:
    for command in ("plan", "backfill"):
        result = cli(command, gap, *RANGE)
        assert result.code == 2, result.out
        assert f"date={GONE}: is expected by the calendar, and has no rows" in result.err
        assert "--on-missing skip" in result.err
    assert not (gap.parents[1] / "scores").exists()
    with bd.load(gap) as job, pytest.raises(PartitionError, match=GONE):
        job.backfill("2024-03-01", "2024-03-03")


def test_days_past_the_last_one_are_missing_too(deployment: Path, cli: Cli) -> None:
    result = cli("backfill", deployment, "--from", "2024-03-04", "--to", "2024-03-06")
    assert result.code == 2
    assert "date=2024-03-05" in result.err
    assert "date=2024-03-06" in result.err
    edit("column: date", "column: date, end: 2024-03-04")(deployment.parents[1])
    assert cli("plan", deployment, "--from", "2024-03-04", "--to", "2024-03-06").code == 0


def test_skipped_days_are_named_and_the_others_scored(gap: Path, cli: Cli) -> None:
    plan = cli("plan", gap, *RANGE, "--on-missing", "skip", "--json").json
    assert (len(plan["plans"]), plan["missing"]) == (2, [GONE])
    edit("path: data/customers", "path: data/customers\n  on_missing: skip")(gap.parents[1])
    done = cli("backfill", gap, *RANGE)
    assert done.code == 0, done.err
    assert f"{GONE}  missing" in done.out
    assert cli("backfill", gap, *RANGE, "--json").json["missing"] == [GONE]
    assert cli("backfill", gap, *RANGE, "--on-missing", "fail").code == 2
    single = cli("run", gap, "--partition", GONE)
    assert (single.code, f"{GONE} is skipped" in single.out) == (0, True)
    assert cli("run", gap, "--partition", GONE, "--on-missing", "fail").code == 2
    assert cli("run", gap, "--partition", "2024-3-2").code == 2
    states = {row["partition"]: row["state"] for row in cli("status", gap, "--json").json["partitions"]}
    assert states[GONE] == "missing"
    assert f"{GONE}  missing" in cli("status", gap).out
    with bd.load(gap) as job:
        assert len(job.backfill("2024-03-01", "2024-03-03")) == 2


def test_a_notebook_skips_a_day_as_the_shell_does(gap: Path) -> None:
    with bd.load(gap) as job:
        with pytest.raises(PartitionError, match=GONE):
            job.run(GONE)
        skipped = job.run(GONE, on_missing="skip")
        assert (skipped.status, skipped.partition, skipped.files) == ("skipped", GONE, ())
        assert GONE in skipped.reason
        assert f"{GONE} is skipped" in skipped._repr_html_()
        for name in ("manifest", "folder", "scores", "drift", "report", "printed"):
            with pytest.raises(PartitionError, match="was skipped"):
                getattr(skipped, name)
        with pytest.raises(PartitionError, match=GONE):
            job.run(GONE)
        with pytest.raises(PartitionError, match="write 2024-03-02"):
            job.run("2024-3-2", on_missing="skip")
    assert not (gap.parents[1] / "scores" / "churn").exists()
    edit("path: data/customers", "path: data/customers\n  on_missing: skip")(gap.parents[1])
    with bd.load(gap) as job:
        assert job.run(GONE).status == "skipped"
        with pytest.raises(PartitionError, match=GONE):
            job.run(GONE, on_missing="fail")


def test_a_run_waits_for_its_rows_and_not_for_ever(gap: Path) -> None:
    with bd.load(gap) as job:
        data = replace(job._tools.deployment.data, on_missing="wait", poll_seconds=0.05, wait_hours=0.5)
        job._tools.deployment = replace(job._tools.deployment, data=data)
        folder = job._tools.root / "data" / "customers"

        def bring() -> None:
            time.sleep(0.5)
            write_day(folder.parent / "later", GONE, customers(GONE))
            (folder.parent / "later" / f"date={GONE}").rename(folder / f"date={GONE}")

        thread = threading.Thread(target=bring)
        thread.start()
        assert job.run(GONE).manifest.rows_scored == 200
        thread.join()
        data = replace(data, wait_hours=0.00002)
        job._tools.deployment = replace(job._tools.deployment, data=data)
        with pytest.raises(PartitionError, match="2024-03-05"):
            job.backfill("2024-03-04", "2024-03-05")


def test_an_empty_partition_is_missing(project: Path, deployment: Path) -> None:
    file = write_day(project / "data" / "customers", GONE, customers(GONE).head(0))
    tools = open_toolbox(deployment)
    from batchdeploy.workflows.plan_range import plan_range

    bounds = ("2024-03-01", "2024-03-03")
    assert plan_range(tools, bounds, on_missing="skip").missing == (GONE,)
    file.unlink()
    with pytest.raises(PartitionError, match=GONE):
        plan_range(tools, bounds)


CALENDARS = {
    "days": (PartitionSpec(column="d"), "2024-02-28", "2024-02-29", ["2024-02-28", "2024-02-29"]),
    "working days": (
        PartitionSpec(column="d", schedule="0 6 * * 1-5"), "2024-03-01", "2024-03-05",
        ["2024-03-01", "2024-03-04", "2024-03-05"],
    ),
    "weeks": (
        PartitionSpec(column="d", grain="weekly"), "2024-03-01", "2024-03-12", ["2024-03-04", "2024-03-11"],
    ),
    "months": (PartitionSpec(column="d", grain="monthly"), "2023-12", "2024-01", ["2023-12", "2024-01"]),
    "hours": (
        PartitionSpec(column="d", grain="hourly"), "2024-03-01T22", "2024-03-02T00",
        ["2024-03-01T22", "2024-03-01T23", "2024-03-02T00"],
    ),
    "from start to end": (
        PartitionSpec(column="d", start="2024-03-02", end="2024-03-03"), "2024-03-01", "2024-03-09",
        ["2024-03-02", "2024-03-03"],
    ),
    "no dates": (PartitionSpec(column="region"), "north", "south", []),
}  # fmt: skip


@pytest.mark.parametrize(("spec", "first", "last", "keys"), CALENDARS.values(), ids=CALENDARS.keys())
def test_the_calendar_says_what_is_expected(
    spec: PartitionSpec, first: str, last: str, keys: list[str]
) -> None:
    assert list(expected(first, last, spec)) == keys
