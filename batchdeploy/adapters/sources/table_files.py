"""Pins the data files that one version of a lakehouse table names, local ones and objects."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from batchdeploy.adapters.sources.local_files import LocalFiles
from batchdeploy.adapters.sources.table_snapshot import TableFile
from batchdeploy.core.path_hints import is_remote
from batchdeploy.core.pins import FilePin, identity_of
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.errors import DataError, Problem

GONE_HINT = "name a version whose files are still there"


class TableFiles:
    """Pins files of tables; a local one that was hashed before and is the same is not read again.

    Args:
        storage: how to reach an object store.
    """

    def __init__(self, storage: StorageSpec) -> None:
        self._storage = storage
        self._local = LocalFiles()

    def remember(self, files: Sequence[FilePin]) -> None:
        """Takes the MD5s of earlier pins, for files that still have their inodes, sizes and times."""
        for file in files:
            if not is_remote(file.location):
                self._local.remember(Path(file.location), file)

    def pin(self, where: str, files: Sequence[TableFile]) -> list[FilePin]:
        """The files, in their order, by their content.

        Args:
            where: the table and its version, for messages.
            files: that the version names.

        Raises:
            DataError: a file is gone.
            SourceError: the store failed.
        """
        remote = [file for file in files if is_remote(file.location)]
        pins = {**self._pin_local(where, files), **self._pin_objects(where, remote)}
        return [replace(pins[file.key], path=file.key, path_columns=file.columns) for file in files]

    def unhashed(self, where: str, files: Sequence[TableFile]) -> list[FilePin]:
        """Files to look into; local ones are pinned by their identity alone.

        Raises:
            DataError: a file is gone.
            SourceError: the store failed.
        """
        remote = [file for file in files if is_remote(file.location)]
        found, gone = self._pin_objects(where, remote), []
        for file in files:
            if is_remote(file.location):
                continue
            try:
                status = os.stat(file.location)
            except FileNotFoundError:
                gone.append(file.key)
                continue
            found[file.key] = FilePin(
                path=file.key,
                md5="",
                size=status.st_size,
                location=file.location,
                identity=identity_of(status),
            )
        if gone:
            raise _gone(where, gone)
        return [replace(found[file.key], path=file.key, path_columns=file.columns) for file in files]

    def _pin_local(self, where: str, files: Sequence[TableFile]) -> dict[str, FilePin]:
        local = [file for file in files if not is_remote(file.location)]
        if gone := [file.key for file in local if not os.path.isfile(file.location)]:
            raise _gone(where, gone)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            pins = pool.map(lambda file: self._local.pin(Path(file.location), file.key), local)
            return {pin.path: pin for pin in pins}

    def _pin_objects(self, where: str, files: Sequence[TableFile]) -> dict[str, FilePin]:
        if not files:
            return {}
        # NOTE: the object store's client is installed only with the extras that need it.
        from batchdeploy.storage.object_listing import ObjectFolder

        buckets: dict[str, list[TableFile]] = defaultdict(list)
        for file in files:
            buckets["/".join(file.location.split("/", 3)[:3])].append(file)
        found: dict[str, FilePin] = {}
        for bucket, stored in buckets.items():
            keys = [file.location.removeprefix(f"{bucket}/") for file in stored]
            try:
                pins = ObjectFolder(bucket, self._storage).look_up(keys)
            except DataError as error:
                raise DataError(where, error.problems, hint=GONE_HINT) from None
            found |= {file.key: pin for file, pin in zip(stored, pins, strict=True)}
        return found


def _gone(where: str, keys: Sequence[str]) -> DataError:
    problems = tuple(Problem(key, "is gone: the version was vacuumed or expired") for key in keys)
    return DataError(where, problems, hint=GONE_HINT)
