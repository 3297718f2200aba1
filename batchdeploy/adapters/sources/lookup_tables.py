"""Pins Delta and Iceberg tables that are lookups: all files of one version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from batchdeploy.adapters.sources.table_files import TableFiles
from batchdeploy.adapters.sources.table_snapshot import OpenTable
from batchdeploy.core.lookups import TableFormat
from batchdeploy.core.pins import FilePin
from batchdeploy.errors import DataError, Problem


@dataclass(frozen=True, kw_only=True)
class LookupTables:
    """Pins tables at the version that a lookup names, else at the newest.

    Attributes:
        opening: opens a table of a format.
        files: pins its files.
    """

    opening: Mapping[TableFormat, OpenTable]
    files: TableFiles

    def remember(self, files: Sequence[FilePin]) -> None:
        """Takes the MD5s of earlier pins, for files that still have their inodes, sizes and times."""
        self.files.remember(files)

    def pin(
        self, table: tuple[TableFormat, str], rev: str | int | None, *, key: str
    ) -> tuple[str, tuple[FilePin, ...]]:
        """The version of a table, and its files, by their paths below the table's or their URIs.

        Args:
            table: its format, and its path as written in the deployment.
            rev: its version, or null for the newest.
            key: the deployment's key of the lookup.

        Raises:
            DataError: there is no such table or version, it holds no rows, or it cannot be read as plain
                Parquet.
            SourceError: a catalog or a store failed.
        """
        kind, path = table
        try:
            snapshot = self.opening[kind](path, rev)
            where = f"{path} at {kind} version {snapshot.revision}"
            pins = self.files.pin(where, snapshot.files(()))
        except DataError as error:
            raise DataError(error.where, _of_lookup(error, key), hint=error.hint) from None
        if not pins:
            raise DataError(where, (Problem(f"{key}.path", "the table has no rows"),))
        return snapshot.revision, tuple(replace(pin, path=_below(path, pin.path)) for pin in pins)


def _of_lookup(error: DataError, key: str) -> tuple[Problem, ...]:
    """An error's problems, with the keys of the lookup instead of those of the rows."""
    own = {"data.path": f"{key}.path", "data.rev": f"{key}.rev"}
    return tuple(problem._replace(path=own.get(problem.path, problem.path)) for problem in error.problems)


def _below(path: str, name: str) -> str:
    return name if "://" in name or name.startswith("/") else f"{path.rstrip('/')}/{name}"
