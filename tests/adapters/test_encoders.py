from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

from batchdeploy.adapters.accelerators.encoders import CachedEncoder, with_cached_encoders

random = np.random.default_rng(3)
WORDS = np.array(["JFK", "LGA", "EWR", None, *(f"N{i}" for i in range(40))], dtype=object)
ROWS = pd.DataFrame(
    {
        "tail": WORDS[random.integers(0, len(WORDS), 2000)],
        "origin": WORDS[random.integers(0, 4, 2000)],
        "gate": random.integers(0, 9, 2000),
        "wind": np.where(random.random(2000) < 0.1, np.nan, random.integers(0, 5, 2000) / 2),
        "temp": random.normal(size=2000),
    }
)
LABEL = (random.random(2000) < 0.2 + 0.1 * (ROWS["gate"] > 4)).astype(int).to_numpy()
COLUMNS = ["tail", "origin", "gate", "wind"]
ENCODERS: dict[str, Any] = {
    "target": TargetEncoder(cv=KFold(5, shuffle=True, random_state=1)),
    "ordinal": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    "missing": OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2, dtype="f4"
    ),
    "rare": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, min_frequency=40),
}


def strange() -> pd.DataFrame:
    rows = ROWS.copy()
    rows.loc[::50, "tail"] = "unseen"
    rows.loc[5::50, "origin"] = None
    rows.loc[7::50, "gate"] = 1000
    return rows


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each encoder is asked about."""
    lengths: list[int] = []
    for kind in (OrdinalEncoder, TargetEncoder):
        native = kind.transform

        def counted(self: Any, rows: Any, native: Any = native) -> Any:
            lengths.append(len(rows))
            return native(self, rows)

        monkeypatch.setattr(kind, "transform", counted)
    return lengths


def proved(encoder: Any) -> CachedEncoder:
    """One that has been held against the encoder already."""
    quick = CachedEncoder(encoder)
    quick._proved = True
    return quick


@pytest.mark.parametrize("kind", ENCODERS)
def test_each_value_is_encoded_once_to_the_same_number(kind: str, asked: list[int]) -> None:
    encoder = ENCODERS[kind].fit(ROWS[COLUMNS], LABEL)
    quick = proved(encoder)
    for rows in (ROWS, strange(), ROWS.head(800)):
        wanted = encoder.transform(rows[COLUMNS])
        asked.clear()
        got = quick.transform(rows[COLUMNS])
        np.testing.assert_array_equal(got, wanted)
        assert got.dtype == wanted.dtype
        assert len(asked) == 1
        assert asked[0] < 60


def test_a_whole_model_answers_as_it_did(asked: list[int]) -> None:
    columns = make_column_transformer(
        (TargetEncoder(cv=KFold(5, shuffle=True, random_state=1)), ["tail"]),
        (make_pipeline(SimpleImputer(strategy="most_frequent"), OrdinalEncoder()), ["wind"]),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["origin"]),
        remainder="passthrough",
    )
    model = make_pipeline(columns, LogisticRegression(max_iter=500)).fit(ROWS, LABEL)
    quick = with_cached_encoders(model)
    rows = strange()
    wanted = model.predict_proba(rows)
    np.testing.assert_array_equal(quick.predict_proba(rows), wanted)
    asked.clear()
    np.testing.assert_array_equal(quick.predict_proba(rows), wanted)
    assert len(asked) == 2
    assert max(asked) < 60
    assert type(model.named_steps["columntransformer"].named_transformers_["targetencoder"]) is TargetEncoder


@pytest.mark.parametrize(
    "rows",
    [
        ROWS.head(20)[COLUMNS],
        ROWS.head(0)[COLUMNS].assign(gate=0),
        ROWS[COLUMNS].assign(tail=np.where(ROWS["gate"] > 4, ROWS["tail"], np.nan)),
        ROWS[COLUMNS].astype({"origin": "category"}),
        ROWS[COLUMNS].assign(tail=[str(i) for i in range(2000)]),
    ],
    ids=["few rows", "no rows", "None and NaN", "categories", "each its own"],
)
def test_what_cannot_be_told_apart_is_left_to_the_encoder(rows: pd.DataFrame, asked: list[int]) -> None:
    encoder = ENCODERS["ordinal"].fit(ROWS[COLUMNS])
    try:
        wanted: Any = encoder.transform(rows)
    except ValueError as error:
        with pytest.raises(ValueError, match=str(error).split("(", maxsplit=1)[0]):
            proved(encoder).transform(rows)
        return
    asked.clear()
    np.testing.assert_array_equal(proved(encoder).transform(rows), wanted)
    assert asked == [len(rows)]


def test_an_unseen_value_is_refused_as_before_and_arrays_are_taken(asked: list[int]) -> None:
    encoder = OrdinalEncoder().fit(ROWS[["tail", "origin"]].to_numpy())
    rows = ROWS[["tail", "origin"]].to_numpy()
    wanted = encoder.transform(rows)
    asked.clear()
    np.testing.assert_array_equal(proved(encoder).transform(rows), wanted)
    assert asked[0] < 60
    rows[7, 1] = "unseen"
    with pytest.raises(ValueError, match=r"unknown categories.*unseen"):
        proved(encoder).transform(rows)


def test_the_first_answer_is_held_against_the_encoder(
    asked: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = ENCODERS["ordinal"].fit(ROWS[COLUMNS])
    wanted = encoder.transform(ROWS[COLUMNS])
    asked.clear()
    quick = CachedEncoder(encoder)
    for _ in range(2):
        np.testing.assert_array_equal(quick.transform(ROWS[COLUMNS]), wanted)
    assert [length == len(ROWS) for length in asked] == [False, True, False]
    # An encoder whose result depends on more than the value, as in a later release.
    native = type(encoder).transform
    monkeypatch.setattr(
        type(encoder), "transform", lambda self, rows: native(self, rows) + np.arange(len(rows))[:, None]
    )
    other = CachedEncoder(encoder)
    for _ in range(2):
        np.testing.assert_array_equal(other.transform(ROWS[COLUMNS]), wanted + np.arange(len(ROWS))[:, None])
    assert caplog.text.count("is not cached") == 1


def test_a_model_without_encoders_is_left_as_it_is() -> None:
    model = make_pipeline(SimpleImputer(), LogisticRegression())
    assert with_cached_encoders(model) is model
    assert with_cached_encoders("passthrough") == "passthrough"
