"""What a worker writes: the same files and counts, in a folder and straight to an object store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from object_stores import s3_bucket
from score_jobs import folders_in, score_job, scoring_spec
from store_proxy import store_proxy

from batchdeploy.adapters.parquet_splits import find_duplicates, make_splits, printed_file, score_split
from batchdeploy.adapters.sources.folder import FolderSource
from batchdeploy.core.deployment import DataRef, PartitionSpec
from batchdeploy.core.work import AttemptFolders, ScoreJob
from batchdeploy.storage.opening import open_location

REF = DataRef(path="data", partition=PartitionSpec(column="date"), keys=("id",))
Place = Callable[[str], AttemptFolders]


@pytest.fixture(params=["a folder", "S3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Makes the folders of an attempt of a name."""
    if request.param == "a folder":
        (tmp_path / "staging").mkdir()
        return lambda name: folders_in(str(tmp_path / "staging" / name))
    request.getfixturevalue("store_credentials")
    bucket = s3_bucket(request.getfixturevalue("s3_port"))
    return lambda name: replace(folders_in(f"{bucket.uri}/staging/{name}"), storage=bucket.storage)


def predict(frame: pd.DataFrame) -> Any:
    print("a model that prints")
    return frame["x"] * 2


def scored(root: Path, folders: AttemptFolders) -> tuple[Any, ScoreJob]:
    """The result of a split with a doubled key and a null one, after the second pass."""
    rows = pa.table({"id": ["a", None, "c", "a"], "x": [1.0, 2.0, 3.0, 4.0]})
    (root / "data" / "date=2024-01-01").mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, root / "data" / "date=2024-01-01" / "part-0.parquet")
    (split,) = make_splits(FolderSource(root).pin(REF, "2024-01-01"))
    job = score_job(scoring_spec(), folders=folders)
    first = score_split(split, job, lambda _: predict)
    (again,) = find_duplicates(job, (split,), (first,))
    return score_split(again, job, lambda _: predict), job


def content_of(location: str, name: str, folders: AttemptFolders) -> bytes:
    stored = open_location(location, folders.storage).read(name)
    assert stored is not None
    return stored.content


def test_files_and_counts_are_those_of_what_was_written(place: Place, tmp_path: Path) -> None:
    folders = place("one")
    result, _ = scored(tmp_path, folders)
    assert (result.rows_in, result.scored.rows, result.quarantine.rows) == (4, 1, 3)
    assert result.keys_in == result.keys_out
    for location, file in ((folders.scored, result.scored), (folders.quarantine, result.quarantine)):
        content = content_of(location, file.path, folders)
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.size, file.sha256)
        assert pq.read_metadata(pa.BufferReader(content)).num_rows == file.rows
    (printed, _) = sorted(
        entry.key for entry in open_location(folders.scratch, folders.storage).list("printed")
    )
    assert b"a model that prints" in content_of(folders.scratch, printed, folders)


def test_nothing_is_left_of_what_a_failed_task_wrote_to_a_store(
    s3_port: int, store_credentials: None, tmp_path: Path
) -> None:
    bucket = s3_bucket(s3_port)
    folders = replace(folders_in(f"{bucket.uri}/staging/one"), storage=bucket.storage)
    (tmp_path / "data" / "date=2024-01-01").mkdir(parents=True)
    pq.write_table(
        pa.table({"id": ["a", "b"], "x": [1.0, 2.0]}), tmp_path / "data/date=2024-01-01/part-0.parquet"
    )
    (split,) = make_splits(FolderSource(tmp_path).pin(REF, "2024-01-01"))
    calls: list[int] = []

    def dies(frame: pd.DataFrame) -> Any:
        calls.append(len(frame))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return frame["x"]

    job = score_job(scoring_spec(batch_rows=1), folders=folders)
    with pytest.raises(KeyboardInterrupt):
        score_split(split, job, lambda _: dies)
    assert calls == [1, 1]
    assert [entry.key for entry in open_location(folders.scored, folders.storage).list("")] == []


@pytest.mark.parametrize(("place", "fault"), [("scored", 403), ("keys", 403), ("scored", "lost")])
def test_a_store_that_refuses_fails_the_task_in_words(
    s3_port: int, store_credentials: None, tmp_path: Path, place: str, fault: Any
) -> None:
    bucket = s3_bucket(s3_port)
    with store_proxy(s3_port) as proxy:
        behind = bucket.through(proxy.port)
        folders = replace(folders_in(f"{bucket.uri}/staging/one"), storage=behind.storage)
        proxy.fault, proxy.matching = fault, f"^(PUT|POST) .*{place}"
        proxy.body = "<Error><Code>AccessDenied</Code><AWSAccessKeyId>AKIA-OF-SOMEBODY"
        with pytest.raises(OSError, match=f"{bucket.uri}/staging/one.*: the store") as failed:
            scored(tmp_path, folders)
    assert proxy.fired
    assert "AKIA" not in str(failed.value)
    assert failed.value.__cause__ is None


def test_a_store_that_takes_no_printed_output_fails_no_task(
    s3_port: int, store_credentials: None, tmp_path: Path
) -> None:
    bucket = s3_bucket(s3_port)
    with store_proxy(s3_port) as proxy:
        behind = bucket.through(proxy.port)
        folders = replace(folders_in(f"{bucket.uri}/staging/one"), storage=behind.storage)
        proxy.fault, proxy.matching = 403, "printed"
        with printed_file(folders, "part-0.txt") as file:
            file.write_text("hello")
    assert proxy.fired
