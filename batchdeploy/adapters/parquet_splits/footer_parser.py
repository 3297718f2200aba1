"""Parses column metadata from a Parquet footer without pyarrow.

pyarrow ends the whole process (``std::terminate``, exit 134) on reading the metadata of a column that is
encrypted with its own key, which a file with a plain footer may hold. This parser checks the footer first;
it is a structure in Thrift's compact protocol (parquet.thrift: FileMetaData).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
INTEGERS = (4, 5, 6)
# parquet.thrift nests nine levels deep; a deeper footer is malicious and would exhaust the stack.
MAX_DEPTH = 32
CODECS = ("UNCOMPRESSED", "SNAPPY", "GZIP", "LZO", "BROTLI", "LZ4", "ZSTD", "LZ4_RAW")


class Chunk(NamedTuple):
    """One column of a file's first row group."""

    codec: str
    encrypted: bool


def read_column_chunks(stream: BinaryIO) -> tuple[Chunk, ...]:
    """The columns of the first row group, in the order of the schema; empty where the file has no row.

    Args:
        stream: a file that begins and ends with ``PAR1``.

    Raises:
        ValueError: the footer is not one.
        OSError: the file cannot be read.
    """
    size = stream.seek(-8, 2)
    length = int.from_bytes(stream.read(4), "little")
    if length > size:
        raise ValueError("the footer is longer than the file")
    stream.seek(size - length)
    reader = _Reader(stream.read(length))
    try:
        return (*_first_chunks(reader),)
    except IndexError:
        raise ValueError("the footer ends too early") from None


def _first_chunks(reader: _Reader) -> Iterator[Chunk]:
    for number, kind in reader.fields():
        if (number, kind) != (4, LIST):
            reader.skip(kind)
            continue
        groups, element = reader.elements()
        if not groups or element != STRUCT:
            return
        for inner, inner_kind in reader.fields():
            if (inner, inner_kind) != (1, LIST):
                reader.skip(inner_kind)
                continue
            columns, element = reader.elements()
            if element != STRUCT:
                raise ValueError("the footer's columns are no structures")
            yield from (_chunk(reader) for _ in range(columns))
        return


def _chunk(reader: _Reader) -> Chunk:
    codec, encrypted = 0, False
    for number, kind in reader.fields():
        if (number, kind) == (3, STRUCT):
            for inner, inner_kind in reader.fields():
                if inner == 4 and inner_kind in INTEGERS:
                    codec = reader.integer()
                else:
                    reader.skip(inner_kind)
        else:
            encrypted |= number in (8, 9)
            reader.skip(kind)
    name = CODECS[codec] if 0 <= codec < len(CODECS) else f"codec {codec}"
    return Chunk(name, encrypted)


class _Reader:
    """A cursor over bytes in Thrift's compact protocol."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def fields(self) -> Iterator[tuple[int, int]]:
        """Yields number and type of each field of a structure; the caller must read or skip its value."""
        number = 0
        while (head := self._byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self.integer()
            yield number, head & 15

    def elements(self) -> tuple[int, int]:
        """A list's length and element type."""
        head = self._byte()
        return self._varint() if head >> 4 == 15 else head >> 4, head & 15

    def integer(self) -> int:
        """Reads a signed integer."""
        coded = self._varint()
        return (coded >> 1) ^ -(coded & 1)

    def skip(self, kind: int, depth: int = 0) -> None:
        """Skips a value."""
        if depth > MAX_DEPTH:
            raise ValueError("the footer is nested too deep")
        if kind in INTEGERS:
            self._varint()
        elif kind == STRUCT:
            for _, inner in self.fields():
                self.skip(inner, depth + 1)
        elif kind in (LIST, SET):
            count, inner = self.elements()
            self._skip_elements(count, (inner,), depth)
        elif kind == MAP:
            count = self._varint()
            kinds = self._byte() if count else 0
            self._skip_elements(count, (kinds >> 4, kinds & 15), depth)
        elif kind in (BYTE, DOUBLE, BINARY):
            self._jump({BYTE: 1, DOUBLE: 8}.get(kind) or self._varint())
        elif kind not in (TRUE, FALSE):
            raise ValueError(f"the footer holds a value of an unknown type, {kind}")

    def _skip_elements(self, count: int, kinds: tuple[int, ...], depth: int) -> None:
        for _ in range(count):
            for kind in kinds:
                # NOTE: a boolean field is encoded in its header, but a boolean in a list takes a byte.
                self.skip(BYTE if kind in (TRUE, FALSE) else kind, depth + 1)

    def _byte(self) -> int:
        value = self._data[self._at]
        self._at += 1
        return value

    def _varint(self) -> int:
        value = shift = 0
        while shift < 70:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
        raise ValueError("the footer holds a number of more than 64 bits")

    def _jump(self, length: int) -> None:
        self._at += length
        if self._at > len(self._data):
            raise ValueError("the footer ends too early")
