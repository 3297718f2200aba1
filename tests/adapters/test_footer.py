"""Footers are looked at before pyarrow sees them; nothing that lies in one may do more than be refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests_support import write_encrypted

from batchdeploy.adapters.parquet_splits.footer_parser import Chunk, read_column_chunks
from batchdeploy.adapters.parquet_splits.input_checks import inspect
from batchdeploy.core.records import DataPin, FilePin
from batchdeploy.errors import BatchdeployError

TABLE = pa.table({"id": ["a", "b"], "age": [1.5, None], "tags": [["x"], []], "at": [{"x": 1}, {"x": 2}]})


def chunks_of(file: Path) -> tuple[Chunk, ...]:
    with file.open("rb") as stream:
        return read_column_chunks(stream)


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "brotli", "zstd"])
def test_says_of_each_column_what_pyarrow_says(tmp_path: Path, codec: str) -> None:
    file = tmp_path / "x.parquet"
    pq.write_table(TABLE, file, compression=codec, row_group_size=1, store_schema=codec != "zstd")
    group = pq.read_metadata(file).row_group(0)
    told = [group.column(place).compression for place in range(group.num_columns)]
    assert [chunk.codec for chunk in chunks_of(file)] == told
    assert not any(chunk.encrypted for chunk in chunks_of(file))


def test_tells_which_columns_are_encrypted(tmp_path: Path) -> None:
    write_encrypted(TABLE, tmp_path / "x.parquet", plaintext_footer=True, column_keys={"key": ["age"]})
    chunks = chunks_of(tmp_path / "x.parquet")
    assert [chunk.encrypted for chunk in chunks] == [False, True, False, False]


def test_a_file_without_a_row_group_has_no_columns(tmp_path: Path) -> None:
    with pq.ParquetWriter(tmp_path / "x.parquet", TABLE.schema):
        pass
    assert chunks_of(tmp_path / "x.parquet") == ()


def spoilt(content: bytes, places: list[tuple[int, int]]) -> bytes:
    """The file with bytes of its footer replaced."""
    length = int.from_bytes(content[-8:-4], "little")
    start, changed = len(content) - 8 - length, bytearray(content)
    for place, value in places:
        changed[start + place % length] = value
    return bytes(changed)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("footers")
    writers: list[Callable[[Path], Any]] = [
        lambda file: pq.write_table(TABLE, file),
        lambda file: write_encrypted(TABLE, file, plaintext_footer=True, column_keys={"key": ["age"]}),
    ]
    files = [folder / f"{number}.parquet" for number in range(len(writers))]
    for write, file in zip(writers, files, strict=True):
        write(file)
    return [file.read_bytes() for file in files]


@given(
    seed=st.integers(0, 1),
    places=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_a_spoilt_footer_is_refused_or_read(
    seeds: list[bytes], tmp_path_factory: pytest.TempPathFactory, seed: int, places: list[tuple[int, int]]
) -> None:
    file = tmp_path_factory.getbasetemp() / "spoilt.parquet"
    file.write_bytes(spoilt(seeds[seed], places))
    pinned = FilePin(path="date=1/x.parquet", md5="x", size=file.stat().st_size, location=str(file))
    pin = DataPin(path="data", rev=None, tracked="plain", digest="x", files=(pinned,))
    with suppress(BatchdeployError):
        assert inspect(pin).rows >= 0
