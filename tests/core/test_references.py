"""References that nobody could have measured are refused where they are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.texts import FakeTexts
from tests_support import FEATURES, Result, edit

from batchdeploy.core.profiles import ColumnProfile, PartitionCounts, Reference, ReferenceColumn
from batchdeploy.core.records import ScoredBatch
from batchdeploy.documents import from_json, to_json
from batchdeploy.errors import DataError
from batchdeploy.storage.reference_profiles import ReferenceProfiles

X = ColumnProfile(name="x", role="feature", kind="numeric", edges=(0.0, 2.5), counts=(5, 7, 0), nulls=1)
C = ColumnProfile(
    name="c", role="feature", kind="categorical", categories=("a", "b"), rare=("r",), counts=(3, 2, 1)
)
DAY = PartitionCounts(counts=(3, 2, 1), nulls=1, moments=(5, 9, -5, 20), outside=2)
WHOLE = json.loads(
    to_json(
        Reference(
            description="quiet days",
            columns=(
                ReferenceColumn(profile=X, partitions=(DAY, DAY)),
                ReferenceColumn(profile=C, partitions=(replace(DAY, moments=()),) * 2),
            ),
        )
    )
)


def put(column: int, key: str, value: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        place = document["columns"][column]
        (place if key in place else place["profile"])[key] = value

    return change


def put_day(column: int, key: str, value: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        document["columns"][column]["partitions"][0][key] = value

    return change


def lost_day(document: Any) -> None:
    document["columns"][1]["partitions"].pop()


def doubled(document: Any) -> None:
    document["columns"].append(document["columns"][0])


WRONG: dict[str, tuple[Callable[[Any], None], str]] = {
    "a negative count": (put(0, "counts", [5, -7, 30]), "x.counts: a negative number of rows, got -7"),
    "negative nulls": (put(0, "nulls", -1), "x.nulls: a negative number of rows, got -1"),
    "negative unseen": (put(1, "unseen", -3), "c.unseen: a negative number of rows, got -3"),
    "more rows than there are numbers": (
        put(0, "counts", [2**70, 0, 0]),
        "x.counts: more rows than",
    ),
    "no rows": (put(1, "counts", [0, 0, 0]), "c: has no rows"),
    "a bin too many": (put(0, "counts", [1, 2, 3, 4]), "x: bins, counts or partitions do not agree"),
    "edges upside down": (put(0, "edges", [2.5, 0.0]), "x: bins, counts or partitions do not agree"),
    "NaN for an edge": (put(0, "edges", [float("nan"), 1.0]), "finite number"),
    "infinity for an edge": (put(0, "edges", [0.0, float("inf")]), "finite number"),
    "NaN for a center": (put(0, "center", float("nan")), "finite number"),
    "an infinite unit": (put(0, "unit", float("inf")), "finite number"),
    "a unit of zero": (put(0, "unit", 0), "x: bins, counts or partitions do not agree"),
    "a negative unit": (put(0, "unit", -1), "x: bins, counts or partitions do not agree"),
    "a day of other bins": (put_day(0, "counts", [1, 2]), "x: bins, counts or partitions do not agree"),
    "a day without moments": (put_day(0, "moments", []), "x: bins, counts or partitions do not agree"),
    "moments of categories": (put_day(1, "moments", [1, 2, 3, 4]), "c: bins, counts or partitions do not"),
    "a day's negative count": (put_day(0, "counts", [1, -2, 3]), "x.partitions.counts: a negative number"),
    "a day's negative nulls": (put_day(1, "nulls", -2), "c.partitions.nulls: a negative number of rows"),
    "more outside than rows": (put_day(0, "outside", 8), "x.partitions.outside: more than its 7 rows, got 8"),
    "moments beyond any rows": (put_day(0, "moments", [0, 2**70, 0, 0]), "x.partitions.moments: more than 7"),
    "days that differ": (lost_day, "columns: have different numbers of partitions"),
    "a category twice": (put(1, "categories", ["a", "a"]), "c: a category is named twice, got a"),
    "a rare category that is none": (put(1, "rare", ["b"]), "c: a category is named twice, got b"),
    "a column twice": (doubled, "x: this feature is listed twice"),
}


def test_a_reference_that_was_measured_is_read() -> None:
    assert from_json(Reference, json.dumps(WHOLE), where="r").profiles == (X, C)


@pytest.mark.parametrize(("change", "expected"), WRONG.values(), ids=WRONG.keys())
def test_a_reference_that_nobody_measured_is_refused(change: Callable[[Any], None], expected: str) -> None:
    document = json.loads(json.dumps(WHOLE))
    change(document)
    with pytest.raises(DataError) as refusal:
        from_json(Reference, json.dumps(document), where="reference.json")
    assert expected in str(refusal.value)


def test_all_of_it_comes_in_one_message() -> None:
    document = json.loads(json.dumps(WHOLE))
    for change in (put(0, "counts", [-5, 7, 0]), put_day(0, "nulls", -1), put(1, "nulls", -1)):
        change(document)
    with pytest.raises(DataError) as refusal:
        from_json(Reference, json.dumps(document), where="reference.json")
    assert [problem.path for problem in refusal.value.problems] == [
        "x.counts",
        "x.partitions.nulls",
        "c.nulls",
    ]


def test_counts_of_a_scored_batch_are_looked_at_too() -> None:
    scored = ScoredBatch(
        run_id="r", attempt="a", files=(), quarantine=(), rows_in=1, rows_scored=1, rows_quarantined=0,
        keys_in="0", keys_out="0", quarantined=(), profile=(X,), model_loads=1, workers=(),
    )  # fmt: skip
    assert from_json(ScoredBatch, to_json(scored), where="scored.json") == scored
    spoilt = replace(scored, profile=(replace(X, counts=(1, -1, 1)),))
    with pytest.raises(DataError, match=r"scored\.json"):
        from_json(ScoredBatch, to_json(spoilt), where="scored.json")


def test_a_reference_of_the_first_format_says_how_to_make_it_anew() -> None:
    texts = FakeTexts()
    texts.texts["r.json"] = json.dumps(WHOLE).replace("reference/2", "reference/1")
    with pytest.raises(DataError, match=r"of an earlier format[\s\S]*build_reference"):
        ReferenceProfiles(texts).read("r.json", key="drift.reference")


@pytest.mark.slow
def test_such_a_reference_is_refused_before_a_row_is_scored(
    project: Path, cli: Callable[..., Result]
) -> None:
    file = project / "data" / "reference" / "churn.json"
    document = json.loads(file.read_text())
    place = document["columns"][FEATURES.index("age")]["profile"]
    place["counts"] = [count - 10_000 for count in place["counts"]]
    file.write_text(json.dumps(document))
    edit(
        "drift: {reference: data/reference/churn.json}",
        "drift: {reference: data/reference/churn.json, on_alarm: block}",
    )(project)
    result = cli("run", project / "dags" / "churn.yaml", "--partition", "2024-03-02")
    assert result.code == 2, result.err
    assert "age.counts: a negative number of rows" in result.err
    assert not (project / "scores" / "churn.batchdeploy" / "runs").exists()
