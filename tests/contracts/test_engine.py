"""What every engine does: the fake one, the local one, and Spark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
from fakes import FakeEngine
from score_jobs import split_result

from batchdeploy.adapters.engines.local import LocalEngine
from batchdeploy.core.work import Split, SplitResult
from batchdeploy.errors import EngineError, ScoringRefused
from batchdeploy.ports import Engine, Work, Workers


class EngineWithWorkers(Engine, Workers, Protocol):
    """Both sides of an engine, which one adapter implements."""


@pytest.fixture(
    scope="module", params=["fake", "local", "processes", pytest.param("spark", marks=pytest.mark.jvm)]
)
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EngineWithWorkers]:
    """One engine for all tests of this file."""
    if request.param in ("fake", "local"):
        yield FakeEngine() if request.param == "fake" else LocalEngine()
        return
    if request.param == "processes":
        in_processes = LocalEngine(least_rows=0, cores=2)
        yield in_processes
        in_processes.close()
        return
    from spark_clusters import engine_on

    with engine_on("local", tmp_path_factory.mktemp("spark")) as started:
        yield started


def splits(count: int) -> tuple[Split, ...]:
    return tuple(
        Split(index=i, path=f"part-{i}", location=f"part-{i}", row_groups=(0,), first_row=0, rows=i + 1)
        for i in range(count)
    )


def counting() -> Work:
    """Work that reads the rows that a split promises; made here, so that it pickles by value."""

    made = split_result(loaded=False)

    def count(split: Split) -> SplitResult:
        return replace(
            made,
            index=split.index,
            rows_in=split.rows,
        )

    return count


def failing(error: Exception) -> Work:
    def fail(split: Split) -> SplitResult:
        if split.index == 1:
            raise error
        return counting_(split)

    counting_ = counting()
    return fail


def test_every_split_is_worked_on_once(engine: EngineWithWorkers) -> None:
    found = list(engine.map_splits(counting(), splits(5)))
    assert sorted((result.index, result.rows_in) for result in found) == [(i, i + 1) for i in range(5)]


def test_no_split_is_no_work(engine: EngineWithWorkers) -> None:
    assert list(engine.map_splits(counting(), ())) == []


def test_a_refusal_of_the_work_arrives_as_it_was_raised(engine: EngineWithWorkers) -> None:
    refusal = ScoringRefused("model version 3", "has another shape", hint="log it again")
    with pytest.raises(ScoringRefused) as caught:
        list(engine.map_splits(failing(refusal), splits(3)))
    assert str(caught.value) == str(refusal)


def test_what_nobody_foresaw_is_the_engines_failure(engine: EngineWithWorkers) -> None:
    with pytest.raises(EngineError, match="ZeroDivisionError: by nothing"):
        list(engine.map_splits(failing(ZeroDivisionError("by nothing")), splits(3)))


def test_a_shipped_folder_is_located_again(engine: EngineWithWorkers, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    name = engine.distribute(tmp_path / "model")
    assert Path(engine.locate(name)).name.startswith("model")


def test_workers_say_what_they_have(engine: EngineWithWorkers) -> None:
    workers = engine.inspect(("python", "numpy"))
    assert workers
    for report in workers:
        assert set(report.versions) == {"python", "numpy"}
        assert report.problems == ()


def test_an_engine_says_what_a_worker_may_use(engine: EngineWithWorkers) -> None:
    assert engine.name in ("local", "spark")
    assert engine.worker_threads(splits(3)) in (None, 1)
    assert engine.device in ("cpu", "cuda")


def test_a_closed_engine_can_be_closed_again() -> None:
    for engine in (FakeEngine(), LocalEngine()):
        engine.close()
        engine.close()


def test_the_fake_loses_splits_on_demand() -> None:
    fake = FakeEngine()
    fake.loses = {1}
    assert [result.index for result in fake.map_splits(counting(), splits(3))] == [0, 2]
    fake.failure = EngineError("Spark", "did not start")
    with pytest.raises(EngineError, match="did not start"):
        list(fake.map_splits(counting(), splits(3)))
