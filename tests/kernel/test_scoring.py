from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from score_jobs import scoring_spec

from batchdeploy.core.deployment import OutputColumn
from batchdeploy.core.records import Column
from batchdeploy.core.scoring_spec import ScoringSpec, batch_rows
from batchdeploy.errors import ScoringRefused
from batchdeploy.kernel.scoring import RowOrigin, columns_needed, score_batch

SPEC = scoring_spec(
    inputs=(
        Column(name="x", type="double"),
        Column(name="n", type="long"),
        Column(name="flag", type="boolean", required=False),
        Column(name="city", type="string"),
    ),
    keep=("city",),
)


def batch(rows: int = 8, **columns: Any) -> pa.RecordBatch:
    values: dict[str, Any] = {
        "id": pa.array([f"k{n}" for n in range(rows)]),
        "x": pa.array(np.arange(rows, dtype="float64")),
        "n": pa.array(range(rows), pa.int32()),
        "flag": pa.array([n % 2 == 0 for n in range(rows)]),
        "city": pa.array(["Bern"] * rows).dictionary_encode(),
    }
    return pa.RecordBatch.from_pydict(values | columns)


def score(
    predict: Callable[[pd.DataFrame], Any], given: pa.RecordBatch, spec: ScoringSpec = SPEC
) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    scored, quarantined, _ = score_batch(
        given, spec, predict, origin=RowOrigin("date=1/part-0.parquet", range(100, 100 + given.num_rows))
    )
    assert scored.num_rows + quarantined.num_rows == given.num_rows
    keys = sorted(map(str, scored["id"].to_pylist() + quarantined["id"].to_pylist()))
    assert keys == sorted(map(str, given["id"].to_pylist()))
    return scored, quarantined


def double(frame: pd.DataFrame) -> Any:
    return frame["x"].to_numpy() * 2


def test_wide_models_are_asked_about_fewer_rows_at_once() -> None:
    def rows(count: int, kind: str = "double") -> int:
        return batch_rows([Column(name=f"x{i}", type=kind) for i in range(count)])

    assert rows(0) == rows(20) == rows(128) == 65_536
    assert rows(1000) * 1000 * 8 <= 64 * 2**20 < (rows(1000) + 1) * 1000 * 8
    assert rows(1000, "string") == 1048
    assert rows(100_000) == 1024


CITIES = ["Bern", None, "", "Bern", None, "Zürich", "Bern", "Genève"]


@pytest.mark.parametrize(
    "cities",
    [
        pa.array(CITIES),
        pa.array(CITIES, pa.large_string()),
        pa.array(CITIES).dictionary_encode(),
        # A dictionary's values may include null.
        pa.DictionaryArray.from_arrays(
            pa.array([2, 0, 1, 2, None, 3, 2, 4]), pa.array([None, "", "Bern", "Zürich", "Genève"])
        ),
        pa.array(["no", *CITIES]).slice(1),
    ],
    ids=["text", "large text", "dictionary", "null in the dictionary", "a slice"],
)
def test_a_model_sees_texts_as_they_are_and_none_for_null(cities: Any) -> None:
    seen: list[Any] = []

    def see(frame: pd.DataFrame) -> Any:
        seen.extend(frame["city"])
        return frame["x"].to_numpy()

    score(see, batch(city=cities))
    assert seen == CITIES
    assert len({id(city) for city in seen}) == 5
    seen.clear()
    score(see, batch(city=pa.nulls(8, pa.string())))
    assert seen == [None] * 8


def test_scored_rows_carry_keys_kept_columns_outputs_and_stamps() -> None:
    scored, quarantined = score(double, batch(3))
    assert scored.schema.names == ["id", "city", "y", "_model_version", "_run_id", "_scored_at"]
    assert scored["y"].to_pylist() == [0, 2, 4]
    assert set(scored["_model_version"].to_pylist()) == {7}
    assert set(scored["_run_id"].to_pylist()) == {"0123456789abcdef"}
    assert scored["_scored_at"].cast("int64").to_pylist() == [1_700_000_000_000_000] * 3
    assert quarantined.num_rows == 0


def test_the_model_sees_its_inputs_only_typed_by_its_signature() -> None:
    seen: list[pd.DataFrame] = []

    def predict(frame: pd.DataFrame) -> Any:
        seen.append(frame)
        return np.zeros(len(frame))

    score(
        predict, batch(4, flag=pa.array([True, None, False, None]), x=pa.array([1, 2, None, 4], pa.int64()))
    )
    assert {name: str(kind) for name, kind in seen[0].dtypes.items()} == {
        "x": "float64",
        "n": "int64",
        "flag": "object",
        "city": "object",
    }
    assert seen[0]["flag"].to_list() == [True, None, False, None]
    assert np.isnan(seen[0]["x"][2])


SET_ASIDE = {
    "a null key": ({"id": pa.array(["a", None, "c", "d"])}, "input", "null key id"),
    "a null in an integer feature": (
        {"n": pa.array([1, None, 3, 4], pa.int64())}, "input", "null in the integer",
    ),
    "an integer that a double cannot hold": (
        {"x": pa.array([1, 2**53 + 1, 3, 4], pa.int64())}, "input", "too large for double: x",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("columns", "stage", "reason"), SET_ASIDE.values(), ids=SET_ASIDE.keys())
def test_a_bad_row_is_quarantined_and_the_others_are_scored(columns: Any, stage: str, reason: str) -> None:
    scored, quarantined = score(double, batch(4, **columns))
    assert scored.num_rows == 3
    assert quarantined["_stage"].to_pylist() == [stage]
    assert reason in quarantined["_reason"][0].as_py()
    assert quarantined["_source_file"].to_pylist() == ["date=1/part-0.parquet"]
    assert quarantined["_source_row"].to_pylist() == [101]


def test_a_date_beyond_nanoseconds_is_quarantined() -> None:
    spec = replace(SPEC, inputs=(*SPEC.inputs, Column(name="since", type="datetime")))
    since = pa.array([0, 253_370_764_800, None], pa.timestamp("s", tz="Europe/Zurich"))
    scored, quarantined = score(double, batch(3, since=since), spec)
    assert scored["id"].to_pylist() == ["k0", "k2"]
    assert quarantined["_reason"].to_pylist() == ["too far away for nanoseconds: since"]


def test_a_null_in_a_required_boolean_is_quarantined() -> None:
    spec = replace(SPEC, inputs=(*SPEC.inputs[:2], Column(name="flag", type="boolean"), SPEC.inputs[3]))
    scored, quarantined = score(double, batch(3, flag=pa.array([True, None, False])), spec)
    assert scored["id"].to_pylist() == ["k0", "k2"]
    assert quarantined["_reason"].to_pylist() == ["null in the required feature flag"]


@pytest.mark.parametrize("bad", [{0}, {7}, {0, 7}, {1, 2, 3}])
def test_a_failing_batch_is_halved_down_to_the_rows_at_fault(bad: set[int]) -> None:
    def predict(frame: pd.DataFrame) -> Any:
        if bad & set(frame["n"]):
            raise ValueError("no such category: 4711 is a secret number")
        return frame["x"].to_numpy()

    scored, quarantined = score(predict, batch(8))
    assert scored["y"].to_pylist() == [float(n) for n in range(8) if n not in bad]
    assert {row - 100 for row in quarantined["_source_row"].to_pylist()} == bad
    assert quarantined["_error"][0].as_py().startswith("ValueError: no such category")


def test_a_model_that_fails_on_everything_is_refused_soon() -> None:
    calls = 0

    def predict(frame: pd.DataFrame) -> Any:
        nonlocal calls
        calls += 1
        raise RuntimeError("broken")

    with pytest.raises(ScoringRefused, match="fails on more than 3 rows"):
        score(predict, batch(4_096))
    assert calls < 40


def test_an_answer_that_is_no_answer_is_quarantined() -> None:
    def predict(frame: pd.DataFrame) -> Any:
        return np.where(frame["x"] == 2, np.nan, frame["x"])

    scored, quarantined = score(predict, batch(4))
    assert scored["y"].to_pylist() == [0, 1, 3]
    assert quarantined["_stage"].to_pylist() == ["output"]


def test_what_an_answer_lacks_is_quarantined_however_it_says_so() -> None:
    spec = replace(
        SPEC, outputs=(("many", OutputColumn(type="integer")), ("good", OutputColumn(type="boolean")))
    )

    def predict(frame: pd.DataFrame) -> Any:
        return pd.DataFrame(
            {
                "many": pd.array([1, None, 3, 4], dtype="Int64"),
                "good": np.array([True, True, False, np.nan], dtype=object),
            }
        )

    scored, quarantined = score(predict, batch(4), spec)
    assert scored["many"].to_pylist() == [1, 3]
    assert scored["good"].to_pylist() == [True, False]
    assert str(scored.schema.field("many").type) == "int32"
    assert quarantined["_stage"].to_pylist() == ["output", "output"]
    assert quarantined["_reason"].to_pylist() == ["many is missing", "good is missing"]


def test_no_rows_give_no_rows() -> None:
    def predict(frame: pd.DataFrame) -> Any:
        raise AssertionError("must not be called")

    scored, quarantined = score(predict, batch(0))
    assert scored.num_rows == quarantined.num_rows == 0
    assert "y" in scored.schema.names


def test_a_batch_that_is_quarantined_whole_never_reaches_the_model() -> None:
    def predict(frame: pd.DataFrame) -> Any:
        raise AssertionError("must not be called")

    scored, quarantined = score(predict, batch(2, id=pa.array([None, None], pa.string())))
    assert (scored.num_rows, quarantined.num_rows) == (0, 2)


def test_reads_each_column_once() -> None:
    assert columns_needed(SPEC, ["city", "flag", "id", "n", "x", "other"]) == ["id", "x", "n", "flag", "city"]
