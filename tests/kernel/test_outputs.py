from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tests_support import text_array

from batchdeploy.core.deployment import OutputColumn
from batchdeploy.core.records import Returns
from batchdeploy.errors import ScoringRefused
from batchdeploy.kernel.outputs import convert_output, pick_outputs

D = OutputColumn(type="double")
NAN, INF = float("nan"), float("inf")


def objects(*values: Any) -> Any:
    """An array of objects, as they are."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


CONVERTED: dict[str, tuple[str, Any, list[Any], set[int]]] = {
    "doubles": ("double", np.array([0.1, 2.0]), [0.1, 2.0], set()),
    "float32 to double": ("double", np.array([0.5], dtype="float32"), [0.5], set()),
    "integers to double": ("double", np.array([1, 2]), [1.0, 2.0], set()),
    "NaN and infinities are no answers": (
        "double",
        np.array([NAN, INF, -INF, 1.0]),
        [None, None, None, 1.0],
        {0, 1, 2},
    ),
    "too large for float": ("float", np.array([1e300, 1.0]), [None, 1.0], {0}),
    "NaN for an integer": ("long", np.array([NAN, 3.0]), [None, 3], {0}),
    "1.7 for an integer": ("long", np.array([1.7, 3.0]), [None, 3], {0}),
    "2**63 for a long": ("long", np.array([2.0**63, -(2.0**63)]), [None, -(2**63)], {0}),
    "overflow of an integer": ("integer", np.array([2**31, 5]), [None, 5], {0}),
    "uint64 over long": ("long", np.array([2**64 - 1, 5], dtype="uint64"), [None, 5], {0}),
    "nullable integers": ("long", pd.Series([1, None], dtype="Int64"), [1, None], {1}),
    "nullable doubles": ("double", pd.Series([None, 2.0], dtype="Float64"), [None, 2.0], {0}),
    "nullable booleans": ("boolean", pd.Series([True, None], dtype="boolean"), [True, None], {1}),
    "booleans": ("boolean", np.array([True, False]), [True, False], set()),
    "booleans and None": ("boolean", np.array([True, None], dtype=object), [True, None], {1}),
    "text": ("string", np.array(["a", None], dtype=object), ["a", None], {1}),
    "text and NaN": ("string", np.array([NAN, "a"], dtype=object), [None, "a"], {0}),
    "categories": ("string", pd.Series(["a", "b"], dtype="category"), ["a", "b"], set()),
    "categories and NaN": ("string", pd.Series(["a", NAN], dtype="category"), ["a", None], {1}),
    "all null": ("double", pd.Series([None, None], dtype=object), [None, None], {0, 1}),
    "NaN and None as objects": (
        "double", np.array([1.5, NAN, None], dtype=object), [1.5, None, None], {1, 2},
    ),
    "NaN and NA in a series of objects": (
        "double", pd.Series([1.5, pd.NA, NAN], dtype=object), [1.5, None, None], {1, 2},
    ),
    "integers and NaN as objects": ("long", np.array([1, NAN], dtype=object), [1, None], {1}),
    "a masked array": ("double", np.ma.array([1.0, 777.0], mask=[False, True]), [1.0, None], {1}),
    "a masked array of integers": ("long", np.ma.array([1, 777], mask=[False, True]), [1, None], {1}),
    "a masked array of booleans": (
        "boolean", np.ma.array([True, True], mask=[True, False]), [None, True], {0},
    ),
    "a masked array of text": (
        "string", np.ma.array(["a", "b"], mask=[False, True], dtype=object), ["a", None], {1},
    ),
    "a masked array with NaN": (
        "double", np.ma.array([NAN, 777.0], mask=[False, True]), [None, None], {0, 1},
    ),
    "an array of no mask": ("double", np.ma.array([1.0, 2.0]), [1.0, 2.0], set()),
    "half floats among objects": (
        "double", np.array([1, np.float16(1.5)], dtype=object), [1.0, 1.5], set(),
    ),
    "NumPy's numbers among objects": (
        "double", np.array([np.int8(1), np.float32(1.5), np.float64(2.5), 3], dtype=object),
        [1.0, 1.5, 2.5, 3.0], set(),
    ),
    "something else under a mask": (
        "long", np.ma.array([1, np.datetime64("2020")], mask=[False, True], dtype=object), [1, None], {1},
    ),
    "an integer beyond 64 bits": ("long", np.array([2**70, 1], dtype=object), [None, 1], {0}),
    "half a surrogate": ("string", np.array(["\ud800", "a"], dtype=object), [None, "a"], {0}),
    "bytes that are no text": (
        "string", pd.Series(text_array(["Z\udcfcrich", "a"]), dtype=pd.ArrowDtype(pa.string())),
        ["Z\\xfcrich", "a"], {0},
    ),
    "half a surrogate in a series": ("string", pd.Series(["\ud800", "a"]), [None, "a"], {0}),
    "half a surrogate in an array of texts": ("string", np.array(["\ud800", "a"]), [None, "a"], {0}),
    "bytes in another order": ("double", np.array([1.0, 2.0], dtype=">f8"), [1.0, 2.0], set()),
}  # fmt: skip


@pytest.mark.parametrize(("declared", "values", "expected", "bad"), CONVERTED.values(), ids=CONVERTED.keys())
def test_converts_without_bending(declared: str, values: Any, expected: list[Any], bad: set[int]) -> None:
    array, found = convert_output("y", declared, values)
    assert array.to_pylist() == expected
    assert {int(row) for _, rows in found for row in rows} == bad


REFUSED: dict[str, tuple[str, Any]] = {
    "text for a number": ("double", np.array(["1.0"], dtype=object)),
    "numbers for text": ("string", np.array([1.0])),
    "a number for a boolean": ("boolean", np.array([1])),
    "a boolean for a number": ("long", np.array([True])),
    "mixed in a series": ("double", pd.Series([1.0, "a"], dtype=object)),
    "mixed": ("double", np.array([1.0, "a"], dtype=object)),
    "a long float among objects": ("double", objects(1, np.longdouble(1.5))),
    "a complex number among objects": ("double", objects(1, np.complex128(1.5))),
    "a boolean among objects": ("long", objects(np.True_, 1)),
    "a boolean among floats": ("double", objects(1.5, True)),
    "a duration among objects": ("long", objects(1, np.timedelta64(3, "h"))),
    "a day": ("string", objects(np.datetime64("2020-01-01"))),
    "a date among large integers": (
        "string",
        objects(1, 2**31, 2**31, 2**63 - 1, np.datetime64("2020"), np.int8(3)),
    ),
    "infinity among dates": ("string", np.array([pd.Timestamp("2020"), np.inf, "\ud800"], dtype=object)),
    "dates for numbers": ("double", np.array(["2024-01-01"], dtype="datetime64[ns]")),
}


@pytest.mark.parametrize(("declared", "values"), REFUSED.values(), ids=REFUSED.keys())
def test_refuses_another_kind_of_value(declared: str, values: Any) -> None:
    with pytest.raises(ScoringRefused):
        convert_output("y", declared, values)


def frame(**columns: list[float]) -> pd.DataFrame:
    return pd.DataFrame(columns)


PICKED: dict[str, tuple[Any, list[tuple[str, OutputColumn]], list[list[float]]]] = {
    "a one-dimensional array": (np.array([1.0, 2.0]), [("y", D)], [[1, 2]]),
    "a list": ([1.0, 2.0], [("y", D)], [[1, 2]]),
    "a series": (pd.Series([1.0, 2.0]), [("y", D)], [[1, 2]]),
    "a masked array of two dimensions": (
        np.ma.array([[1.0, 2.0], [3.0, 777.0]], mask=[[0, 0], [0, 1]]),
        [("y", OutputColumn(type="double", select=1))], [[2, np.ma.masked]],
    ),
    "a list of masked arrays": (
        [np.ma.array([1.0, 2.0]), np.ma.array([3.0, 777.0], mask=[0, 1])],
        [("y", OutputColumn(type="double", select=1))], [[2, np.ma.masked]],
    ),
    "a frame that only counts its columns": (pd.DataFrame([[1.0], [2.0]]), [("y", D)], [[1, 2]]),
    "a column by its count": (
        pd.DataFrame([[1, 2], [3, 4]]), [("y", OutputColumn(type="double", select="1"))], [[2, 4]],
    ),
    "a list of text with NaN": (["a", NAN], [("y", OutputColumn(type="string"))], [["a", NAN]]),
    "a matrix": (np.array([[1.0], [2.0]]).view(np.matrix), [("y", D)], [[1, 2]]),
    "a series with the input's index": (pd.Series([1.0, 2.0], index=np.array([0, 1])), [("y", D)], [[1, 2]]),
    "a frame in order": (frame(a=[1, 2], b=[3, 4]), [("a", D), ("b", D)], [[1, 2], [3, 4]]),
    "a column of an array": (
        np.array([[1.0, 2.0], [3.0, 4.0]]), [("y", OutputColumn(type="double", select=1))], [[2, 4]],
    ),
    "a column of a frame": (
        frame(a=[1, 2], b=[3, 4]), [("y", OutputColumn(type="double", select="b"))], [[3, 4]],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "outputs", "expected"), PICKED.values(), ids=PICKED.keys())
def test_picks_the_declared_outputs(answer: Any, outputs: Any, expected: list[list[float]]) -> None:
    assert [list(values) for values in pick_outputs(answer, outputs, 2)] == expected


STRUCTS: dict[str, tuple[Any, str, list[Any]]] = {
    "columns by name": ({"y": np.array([1.0, 2.0]), "z": np.ones(2)}, "y", [1.0, 2.0]),
    "a column of shape (rows, 1)": ({"y": np.array([[1.0], [2.0]]), "z": np.ones(2)}, "y", [1.0, 2.0]),
    "a place in a wide column": ({"y": np.array([[1.0, 3.0], [2.0, 4.0]])}, "y.1", [3.0, 4.0]),
    "a masked column": (
        {"y": np.ma.array([1.0, 7.0], mask=[False, True]), "z": 0 * np.ones(2)},
        "y",
        [1.0, None],
    ),
    "a dictionary for each row": ([{"y": 1}, {"y": 2}], "y", [1.0, 2.0]),
    "one that lacks the field": ([{"y": 1}, {}], "y", [1.0, None]),
    "one that is missing": ([{"y": {"a": 1}}, {"y": None}], "y.a", [1.0, None]),
    "a series of dictionaries": (pd.Series([{"y": 1}, {"y": 2}]), "y", [1.0, 2.0]),
    "classes that are numbers": ([{"p": {0: 0.1, 1: 0.9}}, {"p": {0: 0.4, 1: 0.6}}], "p.1", [0.9, 0.6]),
    "a field with a dot": ([{"p": {"a.b": 1}}, {"p": {"a.b": 2}}], "p.a.b", [1.0, 2.0]),
    "a column with a dot": (pd.DataFrame({"p.a": [{"b": 1}, {"b": 2}]}), "p.a.b", [1.0, 2.0]),
    "no row with a field of the signature": ([{"y": {"a": 1}}, {"y": {}}], "y.b", [None, None]),
    "lists of equal length": ([{"y": [1, 2]}, {"y": [3, 4]}], "y.0", [1.0, 3.0]),
}


@pytest.mark.parametrize(("answer", "path", "wanted"), STRUCTS.values(), ids=STRUCTS.keys())
def test_takes_the_fields_of_structs_by_dotted_names(answer: Any, path: str, wanted: list[Any]) -> None:
    for outputs in ([(path, D)], [("score", OutputColumn(type="double", select=path))]):
        (values,) = pick_outputs(answer, outputs, 2, returns="struct")
        assert convert_output("score", "double", values)[0].to_pylist() == wanted


def test_an_array_of_another_type_is_no_struct() -> None:
    (values,) = pick_outputs({"y": np.array([[1.0], [2.0]])}, [("score", D)], 2, returns="array")
    assert convert_output("score", "double", values)[0].to_pylist() == [1.0, 2.0]


MISFITS: dict[str, tuple[Any, list[tuple[str, OutputColumn]]]] = {
    "a row too few": (np.array([1.0]), [("y", D)]),
    "a row too many": (np.array([1.0, 2.0, 3.0]), [("y", D)]),
    "an extra column": (frame(a=[1, 2], b=[3, 4]), [("a", D)]),
    "a missing column": (frame(a=[1, 2]), [("a", D), ("b", D)]),
    "reordered columns": (frame(b=[1, 2], a=[3, 4]), [("a", D), ("b", D)]),
    "a wide array": (np.ones((2, 2)), [("y", D)]),
    "no such position": (np.ones((2, 2)), [("y", OutputColumn(type="double", select=2))]),
    "no such name": (frame(a=[1, 2]), [("y", OutputColumn(type="double", select="z"))]),
    "a cube": (np.ones((2, 2, 2)), [("y", D)]),
    "a dictionary for all rows": ({"y": 1.0}, [("y", D)]),
    "a dictionary of other columns": ({"z": [1, 2]}, [("y", D)]),
    "a dictionary of columns sorted by score": ({"y": pd.Series([2.0, 1.0]).sort_values()}, [("y", D)]),
    "dictionaries beside numbers": ([{"y": 1}, 2], [("y", D)]),
    "structs without the field": ([{"y": {"a": 1}}, {"y": {"a": 2}}], [("y.b", D)]),
    "a list that is too short": (objects({"y": [1]}, {"y": [2]}), [("y.1", D)]),
    "rows of different lengths": ([[1.0], [1.0, 2.0]], [("y", D)]),
    "nothing": (None, [("y", D)]),
    "a column twice": (
        pd.DataFrame([[1, 2], [3, 4]], columns=["y", "y"]), [("y", OutputColumn(type="double", select="y"))],
    ),
    "a frame sorted by its scores": (frame(y=[2, 1]).sort_values("y"), [("y", D)]),
    "a series sorted by its scores": (pd.Series([2.0, 1.0]).sort_values(), [("y", D)]),
    "a picked column sorted by its scores": (
        frame(y=[2, 1]).sort_values("y"), [("y", OutputColumn(type="double", select=0))],
    ),
    "parts that were put together": (pd.concat([frame(y=[1]), frame(y=[2])]), [("y", D)]),
    "rows with names of their own": (frame(y=[1, 2]).set_axis(["a", "b"]), [("y", D)]),
    "rows counted from one": (pd.Series([1.0, 2.0], index=[1, 2]), [("y", D)]),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "outputs"), MISFITS.values(), ids=MISFITS.keys())
def test_refuses_an_answer_of_another_shape(answer: Any, outputs: Any) -> None:
    with pytest.raises(ScoringRefused):
        pick_outputs(answer, outputs, 2)


def test_says_what_to_do_about_an_answer_in_another_order() -> None:
    with pytest.raises(ScoringRefused) as refusal:
        pick_outputs(pd.Series([3.0, 1.0, 2.0]).sort_values(), [("y", D)], 3)
    assert "index: is not the input's" in str(refusal.value)
    assert "got 1, 2, 0" in str(refusal.value)
    assert ".sort_index()" in str(refusal.value)


def test_the_only_column_may_be_called_anything_where_the_signature_has_no_name_for_it() -> None:
    """As ONNX models answer: a frame with the graph's own name for its output."""
    (values,) = pick_outputs(frame(variable=[1, 2]), [("progression", D)], 2, returns="array")
    assert list(values) == [1, 2]


HINTED: dict[str, tuple[Any, list[str], Returns, str]] = {
    "another name": (frame(z=[1, 2]), ["y"], "frame", "{y: {type: double, select: z}}"),
    "another order": (
        frame(b=[1, 2], a=[3, 4]), ["a", "b"], "frame",
        "{a: {type: double, select: a}, b: {type: double, select: b}}",
    ),
    "two without names": (
        frame(label=[1, 2], p=[3, 4]), ["y"], "array", "{y: {type: double, select: 0}}",
    ),
    "one for two": (frame(variable=[1, 2]), ["y", "z"], "array", "{y: {type: double, select: 0}}"),
    "an array of two": (np.ones((2, 2)), ["y"], "unknown", "{y: {type: double, select: 0}}"),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "names", "returns", "line"), HINTED.values(), ids=HINTED.keys())
def test_says_which_line_would_pick_the_outputs(
    answer: Any, names: list[str], returns: Returns, line: str
) -> None:
    with pytest.raises(ScoringRefused) as refusal:
        pick_outputs(answer, [(name, D) for name in names], 2, returns=returns)
    assert f"Hint: output.columns: {line} would pick" in str(refusal.value)
