"""The classes of hostile input: for each, a strategy, and what a person's request does with a case.

A target takes an empty folder, and gives the strategy and a function that tells whether a case was taken.
It raises `BatchdeployError` where the case was refused; whatever else it raises is a failure.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml import YAML
from score_jobs import scoring_spec

from batchdeploy.core.deployment import DataRef, DriftSpec, OutputColumn, PartitionSpec
from batchdeploy.core.profiles import Reference
from batchdeploy.documents import from_json, read_deployment, to_json
from batchdeploy.errors import Problem, ScoringRefused
from fuzz.hostile import mangled, mutated, poked

Target = tuple[st.SearchStrategy[Any], Callable[[Any], bool]]

DEPLOYMENT: dict[str, Any] = {
    "name": "churn",
    "owner": "tests",
    "model": {"name": "churn", "alias": "champion", "code": "refuse", "trusted_types": ["a.B"]},
    "data": {
        "path": "data/customers",
        "partition": {"column": "date", "grain": "daily", "start": "2024-01-01", "timezone": "UTC"},
        "keys": ["customer_id"],
        "where": [{"column": "age", "op": "ge", "value": 18}],
        "on_missing": "wait",
        "wait_hours": 2,
    },
    "expectations": "expectations/customers.json",
    "output": {
        "path": "scores/churn",
        "columns": {"p": {"type": "double", "select": 1}, "q": {"type": "long", "select": 0}},
        "keep": ["city"],
    },
    "drift": {"reference": "data/reference/churn.json", "false_alarm_rate": 0.01, "on_alarm": "block"},
    "engine": {
        "kind": "spark",
        "master": "local[2]",
        "conf": {"spark.x": True, "spark.y": 1},
        "versions": "warn",
    },
    "policy": {"null": "quarantine", "ranges": {"age": [0, 120]}, "categories": {"city": ["Bern"]}},
    "quarantine": {"max_share": 0.1},
    "limits": {"rows": 1000, "minutes": 2.5},
    "publish": {"mode": "swap", "keep_generations": 2},
    "backfill": {"model": "champion"},
    "airflow": {"python": ".venv/bin/python"},
}


def deployments(home: Path) -> Target:
    """YAML files: structures, and texts that were YAML once."""
    writer = YAML(typ="safe")

    def dumped(document: Any) -> bytes:
        stream = io.BytesIO()
        try:
            writer.dump(document, stream)
        except Exception:  # noqa: BLE001
            return json.dumps(document, default=str).encode("utf-8", "surrogatepass")
        return stream.getvalue()

    whole = dumped(DEPLOYMENT)
    bombs = st.sampled_from(
        [
            b"a: &a [x]\nb: [*a, *a]\n",
            b"[" * 100,
            b"name: [\n" * 30,
            b"name: .inf\n" + whole,
            whole + whole,
            b"? [a, b]\n: c\n",
            b"1: 2\n",
            b"name: !!binary R0lG\n",
            b"name: !foo bar\n",
            b"<<: {name: x}\n",
            b"%YAML 1.1\n---\n" + whole,
            b"--- 1\n--- 2\n",
        ]
    )
    cases = mutated(st.just(DEPLOYMENT)).map(dumped) | mangled(st.just(whole) | bombs) | bombs
    file = home / "d.yaml"

    def attempt(case: bytes) -> bool:
        from batchdeploy.assembly import open_toolbox

        file.write_bytes(case)
        deployment = read_deployment(file)
        to_json(deployment)
        tools = open_toolbox(file)
        assert tools.registry_uris
        return True

    return cases, attempt


ENTRIES: list[dict[str, Any]] = [
    {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "age"}, "meta": {"level": "block"}},
    {
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": "age", "min_value": 0, "max_value": 9},
    },
    {
        "type": "expect_column_values_to_be_in_set",
        "kwargs": {"column": "city", "value_set": ["a"], "mostly": 0.5},
    },
    {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}},
    {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "city", "regex": "^a"}},
    {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}},
    {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "age", "min_value": 0}},
    {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["id", "city"]}},
    {"type": "expect_column_values_to_be_of_type", "kwargs": {"column": "age", "type_": "float64"}},
    {"type": "expect_column_pair_values_to_be_equal", "kwargs": {"column_A": "id", "column_B": "age"}},
]


def suites(home: Path) -> Target:
    """Expectation suites; those that are taken are evaluated, as far as there is time."""
    from batchdeploy.adapters.great_expectations import GxValidator

    validator = GxValidator()
    frame = pd.DataFrame({"id": [1, 2, 3], "age": [1.0, None, np.inf], "city": ["a", None, "b"]})
    documents = st.lists(st.sampled_from(ENTRIES), min_size=1, max_size=3).map(
        lambda entries: {
            "name": "s",
            "expectations": entries,
            "meta": {"great_expectations_version": "1.24.1"},
        }
    )
    texts = mutated(documents).map(lambda d: json.dumps(d, default=str))
    whole = json.dumps({"name": "s", "expectations": ENTRIES}).encode()
    broken = mangled(st.just(whole)).map(lambda raw: raw.decode("utf-8", "replace"))
    seen = 0
    # The first evaluation imports most of Great Expectations, which must not count for a case.
    validator.check(whole.decode(), frame, where="suite.json")

    def attempt(text: str) -> bool:
        nonlocal seen
        if validator.problems(text, where="suite.json"):
            return False
        validator.columns(text, where="suite.json")
        seen += 1
        if seen % EVALUATED == 0:
            validator.check(text, frame, where="suite.json")
        return True

    return texts | broken, attempt


EVALUATED = 25


def references(home: Path) -> Target:
    """Drift references; those that are taken have to judge a day with a verdict and finite numbers."""
    from batchdeploy.core.drift import judge
    from batchdeploy.kernel.reference_column import column_of_partitions

    random = np.random.default_rng(1)
    numbers, names = pa.array(random.normal(size=400)), pa.array(["a", "b", None, "c"] * 100)
    columns = tuple(
        column_of_partitions(name, "feature", [values.slice(place * 50, 50) for place in range(8)])
        for name, values in (("x", numbers), ("c", names))
    )
    whole = to_json(Reference(description="quiet days", columns=columns))
    documents = mutated(st.just(json.loads(whole)), most=3)
    texts = documents.map(lambda d: json.dumps(d, default=str)) | mangled(st.just(whole.encode())).map(
        lambda raw: raw.decode("utf-8", "replace")
    )

    def attempt(text: str) -> bool:
        reference = from_json(Reference, text, where="reference.json")
        today = [replace(p, counts=tuple(min(c, 10**6) for c in p.counts)) for p in reference.profiles]
        report = judge(reference, today, DriftSpec(reference="r"), run_id="r")
        assert report.verdict in ("ok", "watch", "warning", "critical", "not measured")
        to_json(report)
        return True

    return texts, attempt


SPEC = scoring_spec()
ROWS = 6
BATCH = pa.RecordBatch.from_pydict(
    {"id": [f"k{n}" for n in range(ROWS)], "x": [float(n) for n in range(ROWS)]}
)
ODD = [
    None,
    pd.NA,
    pd.NaT,
    np.nan,
    np.inf,
    1.7,
    -0.0,
    1e308,
    1e-320,
    0,
    1,
    2**31,
    2**63 - 1,
    2**64,
    True,
    False,
    "",
    "a",
    "nan",
    b"x",
    "\ud800",
    1j,
    (1,),
    [1],
    {"a": 1},
    object,
    np.float32(1),
    np.float16(1.5),
    np.longdouble(1.5),
    np.int8(3),
    np.timedelta64(3, "h"),
    np.datetime64("2020"),
    pd.Timestamp("2020"),
]
DTYPES = [
    "float64",
    "float32",
    "float16",
    "int64",
    "int8",
    "uint64",
    "bool",
    "object",
    "complex128",
    "datetime64[ns]",
    "timedelta64[ns]",
    "S3",
    "U3",
    "longdouble",
]
PANDAS_DTYPES = [
    "Float64",
    "Int64",
    "UInt8",
    "boolean",
    "string",
    "category",
    "float64[pyarrow]",
    "int64[pyarrow]",
    "string[pyarrow]",
    "bool[pyarrow]",
    "Sparse[float]",
    "object",
    "float64",
    "datetime64[ns, UTC]",
]


def _cast(values: list[Any], kind: str, make: Callable[..., Any]) -> Any:
    """The values as that type where they can be, else ones."""
    if kind.endswith("[pyarrow]"):
        # NOTE: a NumPy date beside large integers crashes pyarrow, here as in the model itself.
        values = [None if isinstance(value, np.datetime64) else value for value in values]
    try:
        return make(values, dtype=kind)
    except Exception:  # noqa: BLE001
        return make([1] * len(values), dtype=kind) if kind not in ("S3", "U3") else make(["1"] * len(values))


@st.composite
def _answers(draw: st.DrawFn) -> Any:
    """Whatever a model may answer."""
    rows = draw(st.sampled_from([ROWS] * 8 + [0, 1, ROWS - 1, ROWS + 1]))
    column = st.lists(st.sampled_from(ODD), min_size=rows, max_size=rows)
    kinds = draw(
        st.sampled_from(
            ["array", "masked", "2d", "list", "tuple", "series", "frame", "arrow", "odd", "raise"]
        )
    )
    values = draw(column)
    if kinds == "array":
        return _cast(values, draw(st.sampled_from(DTYPES)), np.array)
    if kinds == "masked":
        data = _cast(values, draw(st.sampled_from(["float64", "int64", "object", "bool"])), np.array)
        return np.ma.MaskedArray(data, mask=draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))
    if kinds == "2d":
        wide = _cast(values, draw(st.sampled_from(DTYPES)), np.array)
        return np.stack([wide] * draw(st.integers(1, 3)), axis=draw(st.integers(0, 1)))
    if kinds in ("list", "tuple"):
        return list(values) if kinds == "list" else tuple(values)
    index = draw(
        st.sampled_from(
            [
                None,
                list(range(rows))[::-1],
                [0] * rows,
                list("abcdefgh")[:rows],
                [float(n) for n in range(rows)],
            ]
        )
    )
    series = _cast(values, draw(st.sampled_from(PANDAS_DTYPES)), pd.Series)
    if index is not None and len(index) == len(series):
        series.index = pd.Index(index)
    if kinds == "series":
        return series
    if kinds == "frame":
        names = draw(
            st.lists(st.sampled_from(["y", "z", "y", 0, 1, None, ("a", "b")]), min_size=1, max_size=3)
        )
        frame = pd.concat([series] * len(names), axis=1)
        frame.columns = pd.Index(names, dtype=object) if len(names) else frame.columns
        return frame
    if kinds == "arrow":
        return draw(
            st.sampled_from(
                [pa.array([1.0] * rows), pa.table({"y": [1.0] * rows}), pa.chunked_array([[1.0] * rows])]
            )
        )
    if kinds == "raise":
        return draw(
            st.sampled_from(
                [ValueError("no"), MemoryError(), RecursionError(), AssertionError(), StopIteration()]
            )
        )
    return draw(
        st.sampled_from(
            [
                None,
                1.0,
                "text",
                {"y": [1.0] * rows},
                {"y": 1},
                object(),
                iter([1.0] * rows),
                np.float64(1),
                lambda: 1,
            ]
        )
    )


def answers(home: Path) -> Target:
    """Answers of models: each row scored or quarantined, and no score that is not a number."""
    from batchdeploy.kernel.scoring import RowOrigin, score_batch

    types = st.sampled_from(["double", "float", "long", "integer", "boolean", "string"])
    select = st.sampled_from([None, None, 0, 1, "y"])
    cases = st.tuples(_answers(), types, select).map(_Pickled)

    def attempt(case: _Pickled) -> bool:
        answer, kind, column = case.value

        def predict(_frame: pd.DataFrame) -> Any:
            if isinstance(answer, BaseException):
                raise answer
            return answer

        spec = replace(SPEC, outputs=(("y", OutputColumn(type=kind, select=column)),))
        scored, quarantined, _ = score_batch(BATCH, spec, predict, origin=RowOrigin("f", range(ROWS)))
        assert scored.num_rows + quarantined.num_rows == ROWS
        keys = scored["id"].to_pylist() + quarantined["id"].to_pylist()
        assert sorted(keys) == BATCH["id"].to_pylist()
        if pa.types.is_floating(scored["y"].type):
            assert all(value is None or np.isfinite(value) for value in scored["y"].to_pylist())
        return True

    return cases, attempt


class _Pickled:
    """A case that is shown by its parts; not all of what a model may answer can be pickled."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return repr(self.value)

    def __reduce__(self) -> Any:
        return str, (repr(self.value),)


def _tables() -> list[pa.Table]:
    stamps = pa.array([0, 10**15, None, 1], pa.timestamp("us"))
    return [
        pa.table({"id": ["a", "b", "c", "d"], "x": [1.0, None, 3.0, 4.0]}),
        pa.table(
            {
                "id": pa.array(["a", "b", "a", None]).dictionary_encode(),
                "x": pa.array([1, 2, 3, 4], pa.int32()),
            }
        ),
        pa.table({"id": [b"1", b"2", b"3", b"4"], "x": stamps, "deep": [[1], [2, 3], None, []]}),
        pa.table({"id": [1, 2, 3, 4], "x": pa.array([1, 2, 3, 4], pa.decimal128(9, 2)), "s": [{"a": 1}] * 4}),
    ]


def parquet_files(home: Path) -> Target:
    """Parquet files: footers, pages and whole files that were right once."""
    from batchdeploy.adapters.parquet_splits import inspect, make_splits
    from batchdeploy.adapters.parquet_splits.row_reader import read_batches
    from batchdeploy.adapters.sources.folder import FolderSource
    from batchdeploy.kernel.scoring import RowOrigin, score_batch

    whole: list[bytes] = []
    options: list[dict[str, Any]] = [
        {"compression": "none"},
        {"compression": "snappy", "row_group_size": 2},
        {"compression": "zstd", "write_page_checksum": True},
        {"use_dictionary": False, "data_page_version": "2.0", "write_page_index": True},
    ]
    for table in _tables():
        for option in options:
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink, **option)
            whole.append(sink.getvalue().to_pybytes())
    files = st.sampled_from(whole)
    folder = home / "data" / "date=2024-01-01"
    folder.mkdir(parents=True)
    data = DataRef(path="data", keys=("id",), partition=PartitionSpec(column="date"))

    def attempt(case: bytes) -> bool:
        (folder / "part-0.parquet").write_bytes(case)
        pin = FolderSource(home).pin(data, "2024-01-01")
        inspect(pin)
        inspect(pin, engine="spark")
        for split in make_splits(pin):
            for found in read_batches(split, SPEC):
                if (
                    found.batch.schema.names == ["id", "x"]
                    and found.batch.schema.field("x").type == pa.float64()
                ):
                    rows = score_batch(
                        found.batch,
                        SPEC,
                        lambda frame: frame["x"].fillna(0),
                        origin=RowOrigin("f", found.places),
                    )
                    rows.scored.validate(full=True)
                    rows.quarantined.validate(full=True)
        return True

    footers = poked(files, tail=900, spared=8)
    return footers | footers | mangled(files, tail=700) | mangled(files) | st.binary(max_size=64), attempt


def models(home: Path) -> Target:
    """Models that may hold data only: whatever their description says, no code of theirs runs."""
    from batchdeploy.adapters.mlflow import MlflowRegistry
    from batchdeploy.core.deployment import ModelRef
    from fuzz.hostile_models import FRAME, NAME, bases, cases, place_model, register

    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    made = home / "made"
    made.mkdir()
    known = bases(made)
    uri, place = register(home)
    canary, copies = home / "canary", home / "copies"

    def attempt(case: tuple[str, dict[str, bytes]]) -> bool:
        name, files = case
        place_model(known[name], place, files, canary)
        shutil.rmtree(copies, ignore_errors=True)
        registry = MlflowRegistry(uri, code="refuse")
        try:
            pin = registry.resolve(ModelRef(name=NAME, version=1))
            folder = registry.fetch(pin, copies)
            _ask(registry.load, str(folder), FRAME)
        finally:
            ran = canary.exists()
            shutil.rmtree(canary, ignore_errors=True)
        assert not ran, "code that came with the model ran"
        return True

    return cases(known), attempt


def _ask(load: Callable[[str], Callable[[Any], Any]], folder: str, frame: pd.DataFrame) -> None:
    """A model that is taken may fail as it likes, as long as it is its own failure."""
    try:
        load(folder)(frame)
    except Exception as error:
        raise ScoringRefused(
            "the model", (Problem("predict", f"{type(error).__name__}: {error}"),)
        ) from error


TARGETS: dict[str, Callable[[Path], Target]] = {
    "deployments": deployments,
    "suites": suites,
    "references": references,
    "answers": answers,
    "parquet": parquet_files,
    "models": models,
}
