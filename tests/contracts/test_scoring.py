"""What every partition reader and scorer does: those in memory, and those of Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import FakeToolbox, make_tools, rows
from fakes.stage_calls import DAY, plan_of
from score_jobs import folders_in, score_job, scoring_spec

from batchdeploy.adapters.sources.folder import FolderSource
from batchdeploy.assembly.reading import LocalReader
from batchdeploy.assembly.scoring import LocalScorer
from batchdeploy.core.deployment import DataRef, EngineSpec
from batchdeploy.core.predicates import Predicate
from batchdeploy.core.work import ScoreJob, Split, SplitResult
from batchdeploy.errors import PartitionError


class Place:
    """A toolbox whose reader and scorer are under test, and the way to bring it a day's rows."""

    def __init__(self, tools: Any, folder: Path | None) -> None:
        self.tools = tools
        self._folder = folder

    def put(self, *tables: Any) -> None:
        """Sets the day's rows, a table a file."""
        if self._folder is None:
            self.tools.source.put("data", DAY, *tables)
            return
        folder = self._folder / "data" / f"date={DAY}"
        folder.mkdir(parents=True, exist_ok=True)
        for number, table in enumerate(tables):
            pq.write_table(table, folder / f"part-{number}.parquet")

    def job(self, **spec: Any) -> ScoreJob:
        """What scores the day by the champion."""
        tools = self.tools
        pin = tools.registry.resolve(tools.deployment.model)
        model = tools.registry.fetch(pin, tools.layout.models)
        folders = tools.publishing.staging.stage(f"date={DAY}", "0123456789abcdef")
        if self._folder is not None:
            folders = folders_in(str(self._folder / "staging"))
            Path(folders.scored).mkdir(parents=True)
        return score_job(scoring_spec(**spec), model_folder=str(model), folders=folders)

    def score(self, job: ScoreJob, splits: tuple[Split, ...]) -> list[SplitResult]:
        return [self.tools.scorer.worker(job)(split) for split in splits]


@pytest.fixture(params=["fake", "parquet"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A place with one day of two files of three rows."""
    tools: FakeToolbox | Any = make_tools(engine=EngineSpec(kind="local"))
    folder = None
    if request.param == "parquet":
        folder = tmp_path
        tools.source = FolderSource(folder)
        tools.reader = LocalReader(tools, lambda: pytest.fail("Spark is not asked"))
        tools.scorer = LocalScorer(tools)
    made = Place(tools, folder)
    made.put(*rows(DAY))
    return made


def splits_of(place: Place) -> tuple[Split, ...]:
    tools = place.tools
    found: tuple[Split, ...] = tools.reader.make_splits(tools.source.pin(tools.deployment.data, DAY))
    return found


def test_columns_and_rows_are_told_without_reading_rows(place: Place) -> None:
    ref: DataRef = place.tools.deployment.data
    schema = place.tools.reader.inspect(place.tools.source.pin(ref, DAY))
    assert [(column.name, column.type) for column in schema.columns] == [("id", "string"), ("x", "double")]
    assert schema.file_rows == (3, 3)


def test_a_partition_of_empty_files_holds_no_rows(place: Place) -> None:
    first, second = rows(DAY)
    place.put(first.slice(0, 0), second.slice(0, 0).select(["id", "x"]).replace_schema_metadata({"a": "b"}))
    with pytest.raises(PartitionError, match="holds no rows"):
        place.tools.reader.inspect(place.tools.source.pin(place.tools.deployment.data, DAY))


def test_a_validator_gets_the_columns_that_it_looks_at_and_the_partition(place: Place) -> None:
    plan = plan_of(place.tools)
    with place.tools.reader.frame(plan, {"x"}) as frame:
        assert sorted(frame.columns) == ["date", "x"]
        assert frame["x"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
        assert set(frame["date"]) == {DAY}
    with place.tools.reader.frame(plan, None) as frame:
        assert sorted(frame.columns) == ["date", "id", "x"]


def test_splits_hold_every_row_once(place: Place) -> None:
    splits = splits_of(place)
    assert [split.index for split in splits] == list(range(len(splits)))
    assert sum(split.rows for split in splits) == 6
    assert {split.path for split in splits} == {f"date={DAY}/part-{number}.parquet" for number in range(2)}


def test_keys_that_go_in_come_out(place: Place) -> None:
    results = place.score(place.job(), splits_of(place))
    for result in results:
        assert (result.rows_in, result.scored.rows, result.quarantine) == (3, 3, None)
        assert result.keys_in == result.keys_out
    assert results[0].keys_in != results[1].keys_in


def test_rows_excluded_by_where_are_counted_and_others_quarantined(place: Place) -> None:
    first, second = rows(DAY)
    place.put(first, second.set_column(0, "id", pa.array([None, "b", "c"])))
    where = (Predicate(column="x", op="ge", value=2),)
    results = place.score(place.job(where=where), splits_of(place))
    assert [(result.rows_in, result.rows_left_out) for result in results] == [(1, 2), (3, 0)]
    assert [result.scored.rows for result in results] == [1, 2]
    (quarantined,) = results[1].quarantined
    assert (quarantined.stage, quarantined.rows) == ("input", 1)
    assert results[1].keys_in == results[1].keys_out


def test_duplicates_across_files_are_named_and_quarantined(place: Place) -> None:
    first, second = rows(DAY)
    place.put(first, second.set_column(0, "id", pa.array(["b", f"{DAY}/0/1", "c"])))
    job, splits = place.job(), splits_of(place)
    results = place.score(job, splits)
    again = place.tools.scorer.find_duplicates(job, splits, results)
    assert [(split.index, split.duplicates) for split in again] == [(0, (1,)), (1, (1,))]
    assert [result.scored.rows for result in place.score(job, again)] == [2, 2]


def test_without_duplicates_nothing_is_done_again(place: Place) -> None:
    job, splits = place.job(), splits_of(place)
    assert place.tools.scorer.find_duplicates(job, splits, place.score(job, splits)) == ()
