"""Checks the footers of a partition's files before any task starts, and reports all problems at once."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from batchdeploy.adapters.parquet_splits.footer_parser import read_column_chunks
from batchdeploy.adapters.parquet_splits.parquet_files import PinnedInput, open_file
from batchdeploy.adapters.parquet_splits.pinned_files import open_pinned
from batchdeploy.core.policy import LimitsSpec
from batchdeploy.core.records import Column, DataPin, FilePin, InputSchema
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.errors import DataError, PartitionError, Problem
from batchdeploy.kernel.columns import value_type

MAGIC, ENCRYPTED_MAGIC = b"PAR1", b"PARE"
GIBIBYTE, MEBIBYTE = 1 << 30, 1 << 20
SPARK_VERSION = b"org.apache.spark.version"
SPARK_CODECS = {"UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "LZ4", "LZ4_RAW"}
# A page of one repeated value compresses a million to one, but a genuine file of many gigabytes does not.
BOMB_RATIO, BOMB_BYTES = 10_000, 10 * GIBIBYTE
# How many footers are fetched from a store at a time.
REQUESTS = 16


def inspect(
    pin: DataPin, limits: LimitsSpec = LimitsSpec(), *, engine: str = "local", read: str = "splits"
) -> InputSchema:
    """Columns and rows, from the footers of all files.

    Args:
        pin: the files.
        limits: the most files, rows, cells and bytes.
        engine: ``spark`` also refuses what Spark cannot read.
        read: ``spark`` also refuses what Spark may read wrong.

    Raises:
        DataError: files that cannot be read, do not have the same columns and types, hold what the engine
            cannot read, or exceed the limits; the error lists all problems.
        PartitionError: the files hold no rows.
    """
    if too_many := (*_file_count_problem(pin, limits),):
        raise DataError(pin.path, too_many)
    problems, found = read_footers(pin.files, pin.storage, limits)
    problems += _duplicate_files(pin)
    if found:
        problems += [*_schema_problems(found), *_size_problems(pin, found, limits)]
        problems += _engine_problems(found) if engine == "spark" else _codec_problems(found)
        problems += _inexact_times(found) if read == "spark" else ()
    if problems:
        raise DataError(pin.path, tuple(problems))
    rows = tuple(_rows(footer) for footer in found)
    if not sum(rows):
        raise PartitionError(f"{pin.path}/{_folder(pin)}", "the partition holds no rows")
    columns = tuple(
        Column(name=field.name, type=str(field.type), required=not field.nullable)
        for field in found[0].schema
    )
    columns += _path_columns(pin, {column.name for column in columns})
    return InputSchema(columns=columns, file_rows=rows)


def _path_columns(pin: DataPin, held: set[str]) -> tuple[Column, ...]:
    """The columns that folders give to the rows, where the files do not hold them as well."""
    found: dict[str, Column] = {}
    for column in (column for file in pin.files for column in file.path_columns if column.name not in held):
        known = found.get(column.name)
        required = column.value is not None and (known is None or known.required)
        kind = str(pa.type_for_alias(column.type))
        found[column.name] = Column(name=column.name, type=kind, required=required)
    return tuple(found.values())


class Footer(NamedTuple):
    """Metadata of one file; codecs are those of its first row group."""

    file: FilePin
    metadata: Any
    schema: pa.Schema
    codecs: frozenset[str]


def _duplicate_files(pin: DataPin) -> Iterator[Problem]:
    """Files of the same content: of the same MD5, or objects of the same ETag and size."""
    by_content = defaultdict(list)
    for file in pin.files:
        content = file.md5 or file.etag or file.location, file.size, file.path_columns
        by_content[content].append(file.path)
    for first, *others in by_content.values():
        for other in others:
            yield Problem(other, "is the same file as another one; its rows would be scored twice", first)


def _file_count_problem(pin: DataPin, limits: LimitsSpec) -> Iterator[Problem]:
    if len(pin.files) > limits.files:
        text = f"more than limits.files = {limits.files:,} files; compact them, or raise the limit"
        yield Problem(_folder(pin), text, f"{len(pin.files):,}")


def read_footers(
    files: Sequence[FilePin], storage: StorageSpec, limits: LimitsSpec
) -> tuple[list[Problem], list[Footer]]:
    """The footers of files, and the problems of those that cannot be read as Parquet."""
    read = partial(read_footer, storage=storage, limits=limits)
    if any("://" in file.location for file in files):
        with ThreadPoolExecutor(REQUESTS) as pool:
            answers = list(pool.map(read, files))
    else:
        answers = [read(file) for file in files]
    problems = [answer for answer in answers if isinstance(answer, Problem)]
    return problems, [answer for answer in answers if isinstance(answer, Footer)]


def read_footer(file: FilePin, *, storage: StorageSpec, limits: LimitsSpec) -> Footer | Problem:
    """The footer of a file, or why it cannot be read as Parquet."""
    try:
        with open_pinned(file, storage) as source:
            with source.open() as stream:
                problem = _magic_problem(file, stream, limits)
            return problem or _open(file, source)
    except OSError as error:
        return Problem(file.path, "cannot be read", error.strerror or str(error))


def _open(file: FilePin, source: PinnedInput) -> Footer | Problem:
    # NOTE: must precede pyarrow, which ends the process on an encrypted column.
    try:
        with source.open() as stream:
            chunks = read_column_chunks(stream)
    except (ValueError, OSError) as error:
        return Problem(file.path, "cannot be read as Parquet", str(error))
    try:
        with open_file(source) as opened:
            metadata, schema = opened.metadata, opened.schema_arrow.remove_metadata()
            names = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    except (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError) as error:
        return Problem(file.path, "cannot be read as Parquet", str(error))
    if locked := [name for name, chunk in zip(names, chunks, strict=False) if chunk.encrypted]:
        text = "holds encrypted columns, which are not supported; write it without encryption"
        return Problem(file.path, text, ", ".join(locked))
    return Footer(file, metadata, schema, frozenset(chunk.codec for chunk in chunks))


def _magic_problem(file: FilePin, stream: BinaryIO, limits: LimitsSpec) -> Problem | None:
    """The problem that the first and last bytes show, before anything is parsed."""
    stream.seek(max(0, file.size - 8))
    tail = stream.read(8)
    stream.seek(0)
    head = stream.read(64)
    if not head:
        return Problem(file.path, "cannot be read as Parquet", "0 bytes")
    if head[:4] == ENCRYPTED_MAGIC or tail[4:] == ENCRYPTED_MAGIC:
        return Problem(file.path, "is encrypted, which is not supported; write it without encryption")
    if head[:4] != MAGIC:
        return Problem(file.path, f"is not Parquet; it looks like {_guess(head)}", repr(head[:24])[1:])
    if tail[4:] != MAGIC:
        return Problem(file.path, "is truncated: a Parquet file ends with PAR1; get the file again")
    footer = int.from_bytes(tail[:4], "little")
    if footer > limits.footer_mib * MEBIBYTE:
        text = f"its footer is larger than limits.footer_mib = {limits.footer_mib:g}"
        return Problem(file.path, text, f"{footer / MEBIBYTE:.1f} MiB")
    return None


def _guess(head: bytes) -> str:
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<")):
        return "an HTML or XML page, as a failed download leaves"
    kinds = {b"{": "JSON", b"PK": "a zip archive", b"\x1f\x8b": "gzip", b"ORC": "ORC", b"Obj": "Avro"}
    for magic, name in kinds.items():
        if head.startswith(magic):
            return name
    return "text, such as CSV" if all(9 <= byte < 127 for byte in head) else "something else"


def _schema_problems(found: list[Footer]) -> Iterator[Problem]:
    first_file, first = found[0].file, found[0].schema
    for file, _, schema, _ in found:
        yield from _duplicate_columns(file.path, schema)
        if schema is not first:
            yield from _differences(file.path, (first_file.path, first), schema)


def _duplicate_columns(path: str, schema: pa.Schema) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for name in schema.names:
        other = seen.setdefault(name.lower(), name)
        if other is not name and other == name:
            yield Problem(path, "has a column twice", name)
        elif other != name:
            yield Problem(path, "has columns that differ in case only", f"{other}, {name}")


def _differences(path: str, first: tuple[str, pa.Schema], other: pa.Schema) -> Iterator[Problem]:
    first_path, wanted = first
    if wanted.names == other.names and wanted.types == other.types:
        return
    for name in wanted.names:
        if name not in other.names:
            like = next((found for found in other.names if found.lower() == name.lower()), None)
            yield Problem(path, f"lacks the column {name} that other files have", like)
        elif other.names.count(name) == wanted.names.count(name) == 1:
            kind, expected = other.field(name).type, wanted.field(name).type
            if value_type(kind) != value_type(expected):
                text = f"holds {name} as another type than {first_path}: expected {expected}"
                yield Problem(path, text, str(kind))
    for name in other.names:
        if name not in wanted.names:
            yield Problem(path, f"has a column {name} that other files lack")


def _size_problems(pin: DataPin, found: list[Footer], limits: LimitsSpec) -> Iterator[Problem]:
    rows = sum(_rows(footer) for footer in found)
    sizes = {footer.file.path: _uncompressed(footer) for footer in found}
    facts: tuple[tuple[str, float, float], ...] = (
        ("rows", rows, limits.rows),
        ("cells", rows * len(found[0].schema), limits.cells),
        ("uncompressed_gib", sum(sizes.values()) / GIBIBYTE, limits.uncompressed_gib),
    )
    for name, fact, most in facts:
        if fact > most:
            text = f"more {name.replace('_gib', ' GiB')} than limits.{name} = {most:,}"
            yield Problem(_folder(pin), text, f"{fact:,.0f}")
    for file in (footer.file for footer in found):
        if sizes[file.path] > BOMB_BYTES and sizes[file.path] > BOMB_RATIO * file.size:
            got = f"{file.size:,} bytes for {sizes[file.path] / GIBIBYTE:,.0f} GiB"
            yield Problem(file.path, "decompresses to far more than any ordinary file of its size", got)


def _rows(footer: Footer) -> int:
    """The rows of the partition that a file holds."""
    return int(footer.metadata.num_rows) if footer.file.rows is None else footer.file.rows


def _uncompressed(footer: Footer) -> int:
    """Bytes after decoding: the sum over the row groups, and at least one bit per cell."""
    metadata, chosen = footer.metadata, footer.file.row_groups
    groups = [metadata.row_group(i) for i in (range(metadata.num_row_groups) if chosen is None else chosen)]
    rows = int(metadata.num_rows) if chosen is None else sum(group.num_rows for group in groups)
    return max(sum(int(group.total_byte_size) for group in groups), rows * int(metadata.num_columns) // 8)


def _codec_problems(found: list[Footer]) -> Iterator[Problem]:
    for file, _, _, codecs in found:
        for codec in sorted(codecs):
            name = {"UNCOMPRESSED": None, "LZ4_RAW": "lz4_raw"}.get(codec, codec.lower())
            if name is not None and not _available(name):
                yield Problem(file.path, "is compressed with a codec that this pyarrow lacks", codec)


def _available(name: str) -> bool:
    try:
        return bool(pa.Codec.is_available(name))
    except ValueError:
        return False


def _engine_problems(found: list[Footer]) -> Iterator[Problem]:
    for file, _, schema, codecs in found:
        for codec in sorted(codecs - SPARK_CODECS):
            text = "is compressed with a codec that Spark lacks; use zstd, or engine.kind: local"
            yield Problem(file.path, text, codec)
        for field in schema:
            if _unreadable_by_spark(field.type):
                text = f"column {field.name}: Spark cannot read the type; cast it, or use engine.kind: local"
                yield Problem(file.path, text, str(field.type))


def _inexact_times(found: list[Footer]) -> Iterator[Problem]:
    """INT96 timestamps that may be finer than a microsecond, which Spark truncates; its own are not."""
    for file, metadata, _, _ in found:
        if SPARK_VERSION in (metadata.metadata or {}):
            continue
        for column in map(metadata.schema.column, range(metadata.num_columns)):
            if column.physical_type == "INT96":
                text = f"column {column.path}: Spark truncates times that are finer than a microsecond; "
                yield Problem(file.path, f"{text}engine.read: splits quarantines them", "INT96")


def _unreadable_by_spark(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_float16(kind) or types.is_time(kind) or types.is_duration(kind) or types.is_decimal256(kind)
    )


def _folder(pin: DataPin) -> str:
    folder = pin.files[0].path.rpartition("/")[0] if pin.files else ""
    return folder or os.path.basename(pin.path)
