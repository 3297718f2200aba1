"""Workers read the very files that were pinned, whatever takes their names for a while."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests_support import customers, write_day

from batchdeploy.assembly import LocalToolbox, open_toolbox
from batchdeploy.core.records import CheckReport
from batchdeploy.errors import DataError
from batchdeploy.stages.validate import validate
from batchdeploy.workflows.plan import plan as plan_partition
from batchdeploy.workflows.run import Outcome, execute
from batchdeploy.workflows.run import run as run_partition

pytestmark = pytest.mark.slow

DAY, OTHER = "2024-03-02", "2024-03-03"
Swap = Callable[[Path, Path], None]


def swap_files(file: Path, other: Path) -> None:
    parked = file.with_name("parked")
    file.rename(parked)
    other.rename(file)
    parked.rename(other)


def swap_folders(file: Path, other: Path) -> None:
    """The file itself is not touched, not even its times."""
    swap_files(file.parent, other.parent)


def write_over(file: Path, other: Path) -> None:
    """The same inode with other bytes, and with its old times."""
    before, (mine, theirs) = file.stat(), (path.read_bytes() for path in (file, other))
    file.write_bytes(theirs)
    other.write_bytes(mine)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def scored_while(tools: LocalToolbox, before: Callable[[], None], after: Callable[[], None]) -> Outcome:
    """A run that something happens to just before a worker begins, and just after it ends."""
    planned, work = plan_partition(tools, DAY), tools.engine.map_splits

    def between(do: Any, splits: Any) -> Iterator[Any]:
        for split in splits:
            before()
            found = list(work(do, [split]))
            after()
            yield from found

    tools.engine.map_splits = between  # type: ignore[method-assign]
    return execute(tools, planned)


@pytest.mark.parametrize("swap", [swap_files, swap_folders, write_over])
def test_a_file_that_is_swapped_and_swapped_back_is_not_published(deployment: Path, swap: Swap) -> None:
    tools = open_toolbox(deployment)
    data = tools.root / "data" / "customers"
    mine = data / f"date={DAY}" / "part-0.parquet"
    theirs = write_day(
        tools.root / "elsewhere", DAY, customers(OTHER).assign(customer_id=customers(DAY)["customer_id"])
    )
    with pytest.raises(DataError, match=r"part-0\.parquet: changed since it was pinned"):
        scored_while(tools, lambda: swap(mine, theirs), lambda: swap(mine, theirs))
    assert not tools.layout.table.exists()


def linked(file: Path) -> None:
    os.link(file, file.parents[3] / "link")


def copied(file: Path) -> None:
    shutil.copy2(file, file.parents[3] / "copy")
    (file.parents[3] / "copy").replace(file)


def made_read_only(file: Path) -> None:
    file.chmod(0o444)


@pytest.mark.parametrize("touch", [linked, copied, made_read_only])
def test_a_file_that_holds_what_was_pinned_is_scored(deployment: Path, touch: Callable[[Path], None]) -> None:
    tools = open_toolbox(deployment)
    file = tools.root / "data" / "customers" / f"date={DAY}" / "part-0.parquet"
    assert scored_while(tools, lambda: touch(file), lambda: None).manifest.rows_scored == 200


def test_a_file_that_is_written_to_while_it_is_read_is_not_published(
    deployment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from batchdeploy.kernel import batch_loop

    tools = open_toolbox(deployment)
    file = tools.root / "data" / "customers" / f"date={DAY}" / "part-0.parquet"
    score_batch = batch_loop.score_batch

    def writing(*arguments: Any, **options: Any) -> Any:
        with file.open("r+b") as stream:
            stream.write(b"P")
        return score_batch(*arguments, **options)

    monkeypatch.setattr(batch_loop, "score_batch", writing)
    with pytest.raises(DataError, match="changed while it was read"):
        run_partition(tools, DAY)


class ReadsByName:
    """Stands where the Spark engine stands: opens files by their names, when the validator asks."""

    def __init__(self, before: Callable[[], None]) -> None:
        self._before = before

    def frame(self, pin: Any, partition: tuple[str, str], *_: Any, **__: Any) -> pd.DataFrame:
        self._before()
        frames = [pd.read_parquet(file.location, partitioning=None) for file in pin.files]
        return pd.concat(frames).assign(**{partition[0]: partition[1]})


def validated_while(
    deployment: Path, spark: Any, before: Callable[[], None], after: Callable[[], None]
) -> CheckReport:
    """A validation over the engine's own frame that something happens to before and after it is read."""
    edited = deployment.read_text(encoding="utf-8").replace("kind: local", "kind: spark")
    deployment.write_text(edited, encoding="utf-8")
    tools = open_toolbox(deployment)
    planned, check = plan_partition(tools, DAY), tools.validator.check

    def between(*arguments: Any, **options: Any) -> Any:
        before()
        results = check(*arguments, **options)
        after()
        return results

    tools.validator.check = between  # type: ignore[method-assign]
    tools.reader.one_machine_cells = 0
    if spark is not None:
        tools.spark = spark
    try:
        return validate(
            planned,
            texts=tools.texts,
            reader=tools.reader,
            validator=tools.validator,
            now="2024-03-05T00:00:00Z",
        )
    finally:
        if spark is None:
            tools.close()


def two_files(deployment: Path) -> tuple[Path, Path]:
    root = deployment.parents[1]
    mine = root / "data" / "customers" / f"date={DAY}" / "part-0.parquet"
    return mine, write_day(root / "elsewhere", DAY, customers(OTHER))


@pytest.mark.parametrize("swap", [swap_files, swap_folders, write_over])
def test_a_file_that_is_swapped_and_back_while_it_is_validated_is_refused(
    deployment: Path, swap: Swap
) -> None:
    mine, theirs = two_files(deployment)
    spark = ReadsByName(lambda: swap(mine, theirs))
    with pytest.raises(DataError, match=r"part-0\.parquet: changed while it was read"):
        validated_while(deployment, spark, lambda: None, lambda: swap(mine, theirs))


def test_days_that_arrive_while_another_is_validated_do_no_harm(deployment: Path) -> None:
    mine, theirs = two_files(deployment)

    def arrives() -> None:
        shutil.copytree(theirs.parent, mine.parents[1] / "date=2024-03-09")
        (mine.parent / "_SUCCESS").touch()

    assert not validated_while(deployment, ReadsByName(arrives), lambda: None, lambda: None).blocking


@pytest.mark.jvm
def test_spark_validates_what_was_pinned(deployment: Path) -> None:
    mine, theirs = two_files(deployment)
    with pytest.raises(DataError, match=r"part-0\.parquet: changed while it was read"):
        validated_while(
            deployment, None, lambda: swap_folders(mine, theirs), lambda: swap_folders(mine, theirs)
        )
