"""Names of partition folders: ``column=value``, the value escaped as Spark and Hive escape it."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote

NULL = "__HIVE_DEFAULT_PARTITION__"
# What Spark escapes (ExternalCatalogUtils.charToEscape); pyarrow escapes more, and both are read.
ESCAPED = frozenset("\"#%'*/:=?\\\x7f{[]^" + "".join(map(chr, range(1, 32))))


class FolderName(NamedTuple):
    """The column and the unescaped value of a partition folder."""

    column: str
    value: str


def escape(value: str) -> str:
    """A value as it stands in the name of a folder: ``2013-02-01 05%3A00`` for ``2013-02-01 05:00``."""
    return "".join(f"%{ord(character):02X}" if character in ESCAPED else character for character in value)


def unescape(text: str) -> str:
    """The value of an escaped text; a ``%`` that escapes nothing stands for itself."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return text


def parse_folder(name: str) -> FolderName | None:
    """Column and value that a folder's name gives; None if it is not a ``column=value`` folder."""
    column, equals, value = name.partition("=")
    if not equals or not column or column.startswith((".", "_")):
        return None
    return FolderName(unescape(column), unescape(value))
