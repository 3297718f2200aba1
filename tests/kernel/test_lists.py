"""List columns as features: what the model is given, and which rows cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from batchdeploy.core.deployment import OutputColumn
from batchdeploy.core.policy import PolicySpec
from batchdeploy.core.records import Column, TensorInput
from batchdeploy.core.scoring_spec import ScoringSpec
from batchdeploy.kernel.lists import flatten_lists
from batchdeploy.kernel.score_table import ScoredTable, score_table

NAN = float("nan")
PASS = PolicySpec()
FLOATS = pa.list_(pa.float32())


def score(
    values: pa.Array,
    kind: str,
    *,
    policy: PolicySpec = PASS,
    required: bool = True,
    shape: tuple[int, ...] = (),
) -> tuple[ScoredTable, list[Any]]:
    """Scores rows with one list feature; gives what became of them and every input of the model."""
    given: list[Any] = []

    def predict(asked: Any) -> Any:
        given.append(asked)
        return np.zeros(len(asked))

    element = kind.partition("(")[2].partition(")")[0]
    dtype = {"float": "float32", "double": "float64", "long": "int64"}.get(element, element)
    tensors = (TensorInput(name=None, dtype=dtype, shape=shape, columns=("x",)),) if shape else ()
    spec = ScoringSpec(
        model_version=1,
        inputs=(Column(name="x", type=kind, required=required),),
        keys=("id",),
        keep=(),
        outputs=(("y", OutputColumn(type="double")),),
        run_id="run",
        scored_at_us=0,
        max_failures=10,
        policy=policy,
        tensors=tensors,
    )
    return score_table(pa.table({"id": range(len(values)), "x": values}), spec, predict), given


CELLS: dict[str, tuple[pa.Array, str, list[Any], np.dtype[Any]]] = {
    "doubles": (pa.array([[1.5], [], [2, 3]]), "Array(double)", [[1.5], [], [2, 3]], np.dtype("f8")),
    "integers as doubles": (pa.array([[1], [2, 3]]), "Array(double)", [[1], [2, 3]], np.dtype("f8")),
    "integers": (pa.array([[1], [2, 3]]), "Array(long)", [[1], [2, 3]], np.dtype("i8")),
    "texts": (pa.array([["a", None], ["b"]]), "Array(string)", [["a", None], ["b"]], np.dtype(object)),
    "booleans": (pa.array([[True], [False]]), "Array(boolean)", [[True], [False]], np.dtype(bool)),
    "dictionary-encoded texts": (
        pa.ListArray.from_arrays([0, 1, 3], pa.array(["a", "b", "a"]).dictionary_encode()),
        "Array(string)",
        [["a"], ["b", "a"]],
        np.dtype(object),
    ),
    "a slice": (pa.array([[9], [1], [2, 3]]).slice(1), "Array(long)", [[1], [2, 3]], np.dtype("i8")),
    "a null in a list of floats": (
        pa.array([[1.0, None], [2.0]]),
        "Array(double)",
        [[1, NAN], [2]],
        np.dtype("f8"),
    ),
}


@pytest.mark.parametrize(("values", "kind", "wanted", "dtype"), CELLS.values(), ids=CELLS.keys())
def test_a_model_gets_an_array_for_each_list(values: Any, kind: str, wanted: list[Any], dtype: Any) -> None:
    found, given = score(values, kind)
    assert found.scored.num_rows == len(wanted)
    cells = given[-1]["x"].tolist()
    assert all(cell.dtype == dtype for cell in cells)
    for cell, row in zip(cells, wanted, strict=True):
        assert pd.Series(cell).equals(pd.Series(row, dtype=dtype))


LARGE = pa.large_list(pa.float32())
NESTED = pa.list_(pa.list_(pa.float32()))
TENSORS = {
    "a list": pa.array([[1, 2, 3, 4], [5, 6, 7, 8]], FLOATS),
    "a large list": pa.array([[1, 2, 3, 4], [5, 6, 7, 8]], LARGE),
    "a list of a fixed length": pa.array([[1, 2, 3, 4], [5, 6, 7, 8]], pa.list_(pa.float32(), 4)),
    "nested lists": pa.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], NESTED),
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_is_put_together_in_c_order(name: str) -> None:
    _, given = score(TENSORS[name], "Array(float)[4]", shape=(2, 2))
    assert (given[-1].dtype, given[-1].flags.c_contiguous) == (np.float32, True)
    assert given[-1].tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]


# The values, the feature's type, the reason, and which rows are quarantined for it.
REFUSED: dict[str, tuple[pa.Array, str, str, list[int]]] = {
    "too short, too long": (
        pa.array([[1, 2], [1], [1, 2, 3], [3, 4]], FLOATS),
        "Array(float)[2]",
        "a list of another length than the model takes: x",
        [1, 2],
    ),
    "nested, of another length": (
        pa.array([[[1], [2]], [[1], None]], NESTED),
        "Array(float)[2]",
        "a list of another length than the model takes: x",
        [1],
    ),
    "no list": (pa.array([[1, 2], None], FLOATS), "Array(float)[2]", "null in the list feature x", [1]),
    "no list of a fixed length": (
        pa.array([None, [1, 2]], pa.list_(pa.float32(), 2)),
        "Array(float)[2]",
        "null in the list feature x",
        [0],
    ),
    "no integer": (pa.array([[1], [None, 2]]), "Array(long)", "null in the integer feature x", [1]),
    "too large an integer": (
        pa.array([[2**40], [1]]),
        "Array(integer)",
        "no whole number that fits integer: x",
        [0],
    ),
    "an infinity": (pa.array([[1.0], [float("inf")]]), "Array(double)", "infinite: x", [1]),
    "lost in a double": (pa.array([[2**53 + 1], [1]]), "Array(double)", "too large for double: x", [0]),
}


@pytest.mark.parametrize(("values", "kind", "reason", "rows"), REFUSED.values(), ids=REFUSED.keys())
def test_rows_whose_list_cannot_be_given_are_quarantined(
    values: pa.Array, kind: str, reason: str, rows: list[int]
) -> None:
    shape = (2,) if kind.endswith("[2]") else ()
    found, given = score(values, kind, shape=shape)
    assert found.quarantined["_source_row"].to_pylist() == rows
    assert set(found.quarantined["_reason"].to_pylist()) == {reason}
    assert found.scored["id"].to_pylist() == [row for row in range(len(values)) if row not in rows]
    assert all(len(asked) == len(values) - len(rows) for asked in given)


def test_the_policy_counts_what_it_passes_in_lists() -> None:
    values = pa.array([[1.0, NAN], [2.0, None], None, [1.0, 2.0]])
    found, _ = score(values, "Array(double)", required=False)
    assert found.scored.num_rows == 4
    assert [(f.rule, f.rows, f.action) for f in found.counts.findings] == [("nan", 1, "pass")]
    strict = PolicySpec(nan="quarantine", null="quarantine")
    found, _ = score(values, "Array(double)", policy=strict)
    assert found.quarantined["_source_row"].to_pylist() == [0, 1, 2]
    wrong, _ = score(pa.array([[1], [1, 2]], FLOATS), "Array(float)[2]", shape=(2,))
    assert [(f.rule, f.column, f.rows, f.action) for f in wrong.counts.findings] == [
        ("wrong_length", "x", 1, "quarantine")
    ]


def test_text_that_is_not_utf8_in_a_list_is_quarantined() -> None:
    texts = pa.array([b"a", b"\xff", b"b"], pa.binary()).view(pa.string())
    found, _ = score(pa.ListArray.from_arrays([0, 1, 2, 3], texts), "Array(string)")
    assert found.quarantined["_reason"].to_pylist() == ["not UTF-8: x"]
    assert found.scored["id"].to_pylist() == [0, 2]


def test_elements_know_their_rows() -> None:
    found = flatten_lists(pa.array([[[1], [2, 3]], None, [], [[4]]]))
    assert (found.elements.to_pylist(), found.rows.tolist()) == ([1, 2, 3, 4], [0, 0, 0, 3])
    assert found.lengths.tolist() == [3, 0, 0, 1]
