"""Partitions in a plain local folder: `column=value` folders that hold Parquet files."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from batchdeploy.core.deployment import DataRef
from batchdeploy.core.pins import digest_files
from batchdeploy.core.records import DataPin, FilePin
from batchdeploy.errors import DataError, PartitionError, Problem

Recorded = Callable[[Path], dict[str, str] | None]
Tracked = Literal["dvc", "modified", "plain"]


class FolderStore:
    """Reads the workspace.

    Args:
        root: the project's root, which relative paths start from.
        recorded: gives the MD5 of each file that DVC recorded for a data folder, or None where the
            folder is not tracked; left out where there is no DVC.
    """

    def __init__(self, root: Path, *, recorded: Recorded | None = None) -> None:
        self._root = root
        self._recorded = recorded

    def partitions(self, ref: DataRef) -> tuple[str, ...]:
        """All values of the partition column, sorted.

        Raises:
            DataError: the folder is missing, or holds no folder named for the column.
        """
        folder = self._folder(ref)
        prefix = f"{ref.partition.column}="
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir())
        values = tuple(name.removeprefix(prefix) for name in names if name.startswith(prefix))
        if not values:
            found = ", ".join(names[:5]) or "no folder at all"
            raise DataError(
                ref.path,
                (Problem("data.partition.column", f"no folder named {prefix}VALUE below it", found),),
            )
        return values

    def pin(self, ref: DataRef, partition: str) -> DataPin:
        """The partition's files with their MD5, as they lie in the workspace.

        Raises:
            PartitionError: no such partition, or nothing in it.
            DataError: something in it that is not a Parquet file.
        """
        name = f"{ref.partition.column}={partition}"
        folder = self._folder(ref) / name
        if not folder.is_dir():
            raise _unknown(ref, partition, self.partitions(ref))
        files = tuple(self._pin_file(file, name) for file in _parquet_files(folder, ref, name))
        if not files:
            raise PartitionError(f"{ref.path}/{name}", "the partition holds no Parquet file")
        return DataPin(
            path=ref.path,
            rev=None,
            tracked=self._tracked(self._folder(ref), name, files),
            digest=digest_files((file.path, file.md5) for file in files),
            files=files,
        )

    def _folder(self, ref: DataRef) -> Path:
        if "://" in ref.path:
            raise DataError(ref.path, (Problem("data.path", "only local folders are read so far, not URIs"),))
        folder = self._root / ref.path
        if not folder.is_dir():
            hint = "dvc repro, or dvc pull, makes tracked data" if self._recorded else None
            raise DataError(ref.path, (Problem("data.path", "no such folder"),), hint=hint)
        return folder

    def _pin_file(self, file: Path, name: str) -> FilePin:
        with file.open("rb") as stream:
            md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        return FilePin(
            path=f"{name}/{file.name}", md5=md5, size=file.stat().st_size, location=str(file.resolve())
        )

    def _tracked(self, folder: Path, name: str, files: tuple[FilePin, ...]) -> Tracked:
        recorded = self._recorded(folder) if self._recorded else None
        if recorded is None:
            return "plain"
        prefix = f"{name}/"
        expected = {path: md5 for path, md5 in recorded.items() if path.startswith(prefix)}
        return "dvc" if expected == {file.path: file.md5 for file in files} else "modified"


def _parquet_files(folder: Path, ref: DataRef, name: str) -> list[Path]:
    """The files in name order. Names that begin with `_` or `.` are markers that every reader skips."""
    files, problems = [], []
    for file in sorted(folder.iterdir()):
        if file.name.startswith(("_", ".")):
            continue
        if file.suffix == ".parquet" and stat.S_ISREG(file.stat().st_mode):
            files.append(file)
        else:
            problems.append(Problem(f"{name}/{file.name}", "not a Parquet file"))
    if problems:
        raise DataError(ref.path, tuple(problems))
    return files


def _unknown(ref: DataRef, partition: str, known: tuple[str, ...]) -> PartitionError:
    return PartitionError(
        ref.path,
        (Problem(ref.partition.column, "no such partition", partition),),
        hint=f"there are {len(known)} from {known[0]} to {known[-1]}",
    )
