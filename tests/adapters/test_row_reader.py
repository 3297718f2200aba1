"""What a validator gets to see of a partition."""

from __future__ import annotations

import base64
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from score_jobs import scoring_spec
from tests_support import SCHEMA, customers, write_day

from batchdeploy.adapters.parquet_splits import make_splits, read_frame, sample_frame, sampled
from batchdeploy.adapters.parquet_splits.row_reader import read_batches
from batchdeploy.adapters.sources.folder import FolderSource
from batchdeploy.core.deployment import DataRef, PartitionSpec
from batchdeploy.core.predicates import Predicate
from batchdeploy.core.records import Column
from batchdeploy.core.scoring_spec import ScoringSpec
from batchdeploy.errors import DataError

REF = DataRef(path="data", partition=PartitionSpec(column="date"), keys=("customer_id",))


def spec(**more: Any) -> ScoringSpec:
    inputs = (Column(name="age", type="double"),)
    return scoring_spec(inputs=inputs, keys=("customer_id",), outputs=(), max_failures=1, **more)


def test_samples_are_of_rows_that_would_be_scored(tmp_path: Path) -> None:
    rows = customers("2024-01-01", 5000).sort_values("age", ignore_index=True)
    write_day(tmp_path / "data", "2024-01-01", rows)
    empty = pq.ParquetWriter(tmp_path / "data" / "date=2024-01-01" / "part-1.parquet", SCHEMA)
    empty.write_table(SCHEMA.empty_table())
    empty.close()
    pin = FolderSource(tmp_path).pin(REF, "2024-01-01")
    splits = make_splits(pin)
    assert [split.rows for split in splits] == [5000, 0]
    assert sampled(splits) == splits
    assert sampled(splits * 50) == splits[:1] * 8

    def rows_of(wanted: ScoringSpec) -> list[int | None]:
        frames = [sample_frame(split, wanted) for split in splits]
        return [None if frame is None else len(frame) for frame in frames]

    assert rows_of(spec()) == [1024, None]
    old = Predicate(column="age", op="gt", value=float(rows["age"].iloc[-10]))
    assert rows_of(spec(where=(old,))) == [9, None]
    none = Predicate(column="age", op="gt", value=1000.0)
    assert rows_of(spec(where=(none,))) == [None, None]


def test_only_the_columns_that_are_looked_at_are_read(tmp_path: Path) -> None:
    rows = customers("2024-01-01", 50)
    write_day(tmp_path / "data", "2024-01-01", rows)
    pin = FolderSource(tmp_path).pin(REF, "2024-01-01")
    partition = ("date", "2024-01-01")
    whole = read_frame(pin, partition)
    some = read_frame(pin, partition, columns={"age", "no_such_column"})
    assert list(some) == ["age", "date"]
    assert some["age"].equals(whole["age"])
    assert len(read_frame(pin, partition, columns=frozenset())) == 50
    where = (Predicate(column="income", op="gt", value=float(rows["income"].median())),)
    meant = read_frame(pin, partition, where, columns={"age"})
    assert meant["age"].tolist() == read_frame(pin, partition, where)["age"].tolist()
    assert 0 < len(meant) < 50


# A file whose pages name an entry of a dictionary that has none.
NO_SUCH_ENTRY = (
    "eNp9ks1OwkAQx2eXpvbAAQjbdJMeerHBBD8wwajxsiAqkUTAoIm3WhE5KBXUevDog3j24DP4MD6IM9tKMSZOujvd+fjtf5Pp"
    "qn5NGKIsyh0BAkoADAAC2i4xUBKlqrBEQZjCdLd4hV06LCgWMctx5ZZYjmO3J7wOVv106xQuAxcykJ0xHIOijkF1NlQWTnOq"
    "xXjuC4Qh9+rgmLPwZngbCANEfpk7fHy1DB2XwByP7BlsS7qy6oMr8rIOZkFSjcCw/WK/+Nu+tShbVlEttpKsAro925Sm9LmJ"
    "QELwFMGeNeGD4ed/Mv+V/S/8D3cFqWBR6Tu3Ld9CB9J18qrfPznfTd7kvPF1sh1F1lOJHSsVq8ZIHSg1Us2RjjUaSrXo57qL"
    "9bEubdJ2prO9pB89Bg+VCtW+jqdNOtvWRQe/rkp/j+iSZkxSdOw0zaCIBZ7mZ7zBYE5qxLS3MmibgtFFIrKdStFe68J37etz"
    "mDxCW2uUSc70geNFwfT+cfiwGkbRajCdTmLvaTidjSd33mZ9bWOtJqs4DTQQNZydLk7zNxIBfsE="
)


def test_pages_that_name_no_entry_of_their_dictionary_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "data" / "date=2024-01-01" / "part-0.parquet"
    file.parent.mkdir(parents=True)
    file.write_bytes(zlib.decompress(base64.b64decode(NO_SUCH_ENTRY)))
    pin = FolderSource(tmp_path).pin(replace(REF, keys=("id",)), "2024-01-01")
    with pytest.raises(DataError, match="its pages cannot be read"):
        read_frame(pin, ("date", "2024-01-01"), (), None)
    with pytest.raises(DataError, match="its pages cannot be read"):
        list(read_batches(make_splits(pin)[0], replace(spec(), keys=("id",), inputs=())))
