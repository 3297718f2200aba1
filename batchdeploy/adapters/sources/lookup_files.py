"""Pins the files of a lookup's table: in an object store, as DVC recorded them, or in the workspace."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from batchdeploy.adapters.sources.local_files import LocalFiles, stray_problems
from batchdeploy.core.hive_layout import is_marker, table_format_problems
from batchdeploy.core.partition_names import parse_folder
from batchdeploy.core.path_hints import describe_lookup, is_remote, local_path
from batchdeploy.core.pins import FilePin
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.core.system_errors import reason
from batchdeploy.errors import DataError, Problem

# The files that DVC recorded for a path, by their paths in it, or None.
Recorded = Callable[[str], Mapping[str, Path] | None]


@dataclass(frozen=True, kw_only=True)
class LookupFiles:
    """Pins tables that are one Parquet file, or a folder of them.

    Attributes:
        root: the project's root.
        storage: how to reach the store of a URI.
        recorded: gives a table as DVC records it at ``data.rev``; None to read the workspace.
        fetched: gives a table as DVC records it, where the workspace lacks it; None without ``data.fetch``.
        pull_command: gives the command that brings a path which DVC records into the workspace, or None.
    """

    root: Path
    storage: StorageSpec = StorageSpec()
    recorded: Recorded | None = None
    fetched: Recorded | None = None
    pull_command: Callable[[str], str | None] | None = None
    _files: LocalFiles = field(default_factory=LocalFiles)

    def remember(self, files: Sequence[FilePin]) -> None:
        """Takes the MD5s of earlier pins, for files that still have their inodes, sizes and times."""
        for file in files:
            if not is_remote(file.location):
                self._files.remember(Path(file.location), file)

    def pin(self, path: str, *, key: str) -> tuple[FilePin, ...]:
        """The files of a table, by their paths below the project's root or their URIs.

        Args:
            path: as written in the deployment.
            key: the deployment's key that names it.

        Raises:
            DataError: there is none, or it is no folder of plain Parquet files.
            SourceError: the store or DVC failed.
        """
        if is_remote(path):
            return _checked(path, _objects(path.rstrip("/"), self.storage), ())
        place = self.root / local_path(path)
        found = self.recorded(path) if self.recorded is not None else None
        if found is None and self.fetched is not None and not os.path.lexists(place):
            found = self.fetched(path)
        try:
            found = found if found is not None else dict(_listed(place))
            pins = [self._files.pin(file, _below(path, name)) for name, file in sorted(found.items())]
        except FileNotFoundError:
            raise self._missing(key, path) from None
        except OSError as error:
            raise DataError(path, (Problem(key, reason(error)),)) from None
        folders = (self.root.resolve(), (place if place.is_dir() else place.parent).resolve())
        return _checked(path, pins, folders)

    def _missing(self, key: str, path: str) -> DataError:
        command = self.pull_command(path) if self.pull_command else None
        what = "is recorded by DVC, but not in the workspace" if command else "no such file or folder"
        problem = Problem(key, f"{what}: {describe_lookup(path, self.root)}")
        hint = f"{command}, or data.fetch: true in the deployment" if command else None
        return DataError(path, (problem,), hint=hint)


def _listed(place: Path) -> Iterator[tuple[str, Path]]:
    """The files of a table in the workspace, by their paths in it."""
    if not place.is_dir():
        yield "", place
        return
    for folder, _, names in os.walk(place, onerror=_raise):
        for file in (Path(folder, name) for name in names):
            yield file.relative_to(place).as_posix(), file


def _objects(uri: str, storage: StorageSpec) -> list[FilePin]:
    # NOTE: the object store's client is installed only with the extra `objects`.
    from batchdeploy.storage.object_listing import ObjectFolder

    folder = ObjectFolder(uri, storage)
    if below := folder.descend():
        return [replace(file, path=f"{uri}/{file.path}") for file in folder.pins(below)]
    parent, _, name = uri.rpartition("/")
    return [replace(file, path=uri) for file in ObjectFolder(parent, storage).look_up([name])]


def _checked(path: str, files: Sequence[FilePin], folders: Sequence[Path]) -> tuple[FilePin, ...]:
    """The files of the table, without markers.

    Raises:
        DataError: it has partitions, is a table of another format, or holds no file.
    """
    names = {file.path: file.path.removeprefix(path.rstrip("/")).lstrip("/") for file in files}
    problems = [*table_format_problems(tuple({name.split("/")[0] for name in names.values()}))]
    files = [file for file in files if not any(map(is_marker, names[file.path].split("/")))]
    for file in files:
        if any(parse_folder(part) is not None for part in names[file.path].split("/")[:-1]):
            problems.append(Problem(file.path, "a lookup's table has no partitions; write it as plain files"))
        if folders:
            problems += stray_problems(file, folders)
    if not files and not problems:
        problems.append(Problem(path, "holds no Parquet file"))
    if problems:
        raise DataError(path, tuple(problems))
    return tuple(files)


def _below(path: str, name: str) -> str:
    return f"{path.rstrip('/')}/{name}" if name else path


def _raise(error: OSError) -> None:
    raise error
