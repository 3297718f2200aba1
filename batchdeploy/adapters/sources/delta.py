"""Delta tables at a version: the files that it names, and what of a table plain Parquet would show wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa

from batchdeploy.adapters.sources.table_snapshot import TableFile, path_column, sorted_files, typed
from batchdeploy.core.predicates import Predicate
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.errors import BatchdeployError, DataError, Problem
from batchdeploy.storage.object_failures import failure
from batchdeploy.storage.object_store import delta_options

# Reader features whose files hold the rows as they are, or that are looked at below.
READABLE = {
    "columnMapping",
    "deletionVectors",
    "timestampNtz",
    "typeWidening",
    "typeWidening-preview",
    "v2Checkpoint",
    "vacuumProtocolCheck",
}
MAPPING = "delta.columnMapping.mode"
OPERATORS = {"eq": "=", "ge": ">=", "gt": ">", "le": "<=", "lt": "<", "ne": "!="}
REMEDY = "write the rows to a table without it, or use format: parquet with an export of them"


class DeltaSnapshot:
    """A Delta table at one version.

    Args:
        location: an absolute path of a local folder, or a URI.
        version: null for the newest.
        storage: how to reach an object store.

    Raises:
        DataError: there is no table, no such version, or the table has a feature that is not read here.
        SourceError: the store failed.
    """

    def __init__(self, location: str, version: int | None, storage: StorageSpec) -> None:
        self._folder = location.rstrip("/")
        self._table = _open(self._folder, version, storage)
        self.revision = str(self._table.version())
        if problems := tuple(self._problems()):
            raise DataError(self._folder, problems, hint=REMEDY)

    def _problems(self) -> Iterator[Problem]:
        for name in sorted(set(self._table.protocol().reader_features or ()) - READABLE):
            yield Problem("data.path", "the table uses a reader feature that is not read here", name)
        mode = self._table.metadata().configuration.get(MAPPING, "none")
        if mode != "none":
            yield Problem("data.path", f"the table's files name the columns differently ({MAPPING})", mode)

    @cached_property
    def schema(self) -> pa.Schema:
        """The table's columns."""
        return pa.schema(self._table.schema())

    @cached_property
    def _partition_columns(self) -> tuple[str, ...]:
        return tuple(self._table.metadata().partition_columns)

    @cached_property
    def _adds(self) -> pa.Table:
        """One row a data file: its path, and the values of the partition columns."""
        adds = pa.table(self._table.get_add_actions(flatten=True))
        return adds.select(["path", *(f"partition.{name}" for name in self._partition_columns)])

    def partition_values(self, column: str) -> list[Any] | None:
        """The distinct values of a partition column, null among them; None for another column."""
        if column not in self._partition_columns:
            return None
        found: list[Any] = self._adds.column(f"partition.{column}").unique().to_pylist()
        return found

    def files(self, where: Sequence[Predicate]) -> list[TableFile]:
        """The files that may hold rows matching all predicates, sorted by key.

        Raises:
            DataError: one of them has a deletion vector.
        """
        conditions = [
            (one.column, OPERATORS[one.op], typed(one, self.schema.field(one.column).type)) for one in where
        ]
        pruned = (
            self._table.file_uris(file_pruning_predicate=conditions) if where else self._table.file_uris()
        )
        wanted, found = defaultdict(list), []
        for uri in pruned:
            wanted[_name(uri)].append(uri)
        for add in self._adds.to_pylist():
            # The log's paths are percent-encoded; a shallow clone names files of another table by their URI.
            key = unquote(add["path"])
            location = key.removeprefix("file://") if "://" in key else f"{self._folder}/{key}"
            # deltalake quotes the table's own folder in the URIs, so that only the rest can be compared.
            if any(uri in (location, key) or uri.endswith(f"/{key}") for uri in wanted.get(_name(key), ())):
                found.append(TableFile(key, location, tuple(self._path_columns(add))))
        self._refuse_deletion_vectors({file.key for file in found})
        return sorted_files(found)

    def _path_columns(self, add: dict[str, Any]) -> Iterator[Any]:
        for name in self._partition_columns:
            yield path_column(name, add[f"partition.{name}"], self.schema.field(name).type)

    def _refuse_deletion_vectors(self, keys: set[str]) -> None:
        if "deletionVectors" not in (self._table.protocol().reader_features or ()):
            return
        # By name: how often the folders before it are percent-encoded in these URIs is not documented.
        marked = {_name(uri) for uri in pa.table(self._table.deletion_vectors()).column(0).to_pylist()}
        hit = sorted(key for key in keys if _name(key) in marked or _name(quote(key)) in marked)
        if hit:
            what = "has a deletion vector: plain Parquet would show rows that were deleted"
            hint = "REORG TABLE ... APPLY (PURGE) in Spark writes such files anew"
            raise DataError(self._folder, tuple(Problem(key, what) for key in hit), hint=hint)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _open(folder: str, version: int | None, storage: StorageSpec) -> Any:
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    if "%" in folder and "://" not in folder:
        raise DataError(folder, (Problem("data.path", "deltalake cannot open a folder with % in its path"),))
    options = delta_options(folder, storage)
    try:
        return DeltaTable(folder, version=version, storage_options=options)
    except TableNotFoundError:
        raise _no_table(folder) from None
    except (DeltaError, OSError, ValueError) as error:
        if version is None:
            raise _unreadable(folder, options, error) from None
        raise _no_version(folder, version, options, error) from None


def _no_table(folder: str) -> DataError:
    hint = "data.format: parquet reads plain folders"
    return DataError(folder, (Problem("data.path", "there is no Delta table"),), hint=hint)


def _unreadable(folder: str, options: dict[str, str] | None, error: Exception) -> BatchdeployError:
    if options is not None:
        return failure("data.path", folder, error)
    said = str(error).strip().splitlines()[0]
    return DataError(folder, (Problem("data.path", "the Delta table cannot be read", said),))


def _no_version(
    folder: str, version: int, options: dict[str, str] | None, error: Exception
) -> BatchdeployError:
    """What to raise if a version cannot be opened: it is not there, or the store fails for any version."""
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    try:
        newest = DeltaTable(folder, storage_options=options).version()
    except TableNotFoundError:
        return _no_table(folder)
    except (DeltaError, OSError, ValueError):
        return _unreadable(folder, options, error)
    problem = Problem("data.rev", "the table has no such version, or its log was cleaned up", str(version))
    return DataError(folder, (problem,), hint=f"the newest version is {newest}")
