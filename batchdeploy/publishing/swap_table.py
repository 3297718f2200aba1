"""Reads a table of partition folders on one filesystem."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import nullcontext, suppress

from batchdeploy.core.layout import PARTITIONS
from batchdeploy.core.records import OutputFile
from batchdeploy.core.tables import TableRecord
from batchdeploy.errors import Problem, PublishError
from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.publishing.generations import Generations
from batchdeploy.publishing.ownership import read_table
from batchdeploy.publishing.refusals import translated
from batchdeploy.storage.file_checks import file_problems
from batchdeploy.storage.files import Disk
from batchdeploy.storage.folder_storage import FolderStorage

PUBLISHED_NAME = re.compile(r"part-\d{5,}-([0-9a-f]{16})\.parquet")


class SwapTable:
    """A table whose published files are those in its partition folders.

    Args:
        control: the table's control folder.
        generations: its earlier generations.
    """

    def __init__(self, control: ControlFolder, generations: Generations) -> None:
        self._control = control
        self._layout = control.layout
        self._generations = generations

    def published_run(self, folder: str) -> str | None:
        """The id of the run that is published in a partition's folder, from its file names, or None.

        Raises:
            PublishError: the folder contains files of several runs, or files that no run wrote.
        """
        visible = self._layout.partition_dir(folder)
        try:
            names = sorted(os.listdir(visible))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise translated(error, visible) from error
        runs = {match[1] if (match := PUBLISHED_NAME.fullmatch(name)) else f"? {name}" for name in names}
        if len(runs) != 1 or any(run.startswith("?") for run in runs):
            got = ", ".join(sorted(runs)) or "nothing"
            raise PublishError(
                str(visible), (Problem(folder, "does not hold the files of exactly one run", got),)
            )
        return runs.pop()

    def published_partitions(self) -> tuple[str, ...]:
        """The folder names of all published partitions."""
        table = self._layout.table
        return tuple(sorted(path.name for path in table.glob(PARTITIONS))) if table.is_dir() else ()

    def files(self, folder: str) -> tuple[str, ...]:
        """The paths of a partition's published files."""
        visible = self._layout.partition_dir(folder)
        return tuple(str(file) for file in sorted(visible.iterdir())) if visible.is_dir() else ()

    def file_problems(
        self, folder: str, run_id: str, files: Sequence[OutputFile], *, content: bool
    ) -> tuple[Problem, ...] | None:
        """Compares files in the partition's or the retired folder; see `PublishedTable.file_problems`."""
        place, retired = self._layout.partition_dir(folder), self._layout.retired(folder, run_id)
        strange: tuple[Problem, ...] = ()
        try:
            visible = self.published_run(folder) == run_id
        except PublishError as error:
            # The files belong to several runs; only an earlier generation in `retired` is unambiguous.
            visible, strange = not retired.is_dir(), error.problems
        if not visible:
            place, strange = retired, ()
            if not place.is_dir():
                return None
        storage = FolderStorage(place, nullcontext, Disk(power=False))
        return (*strange, *file_problems(storage, {file.path: file for file in files}, content=content))

    def attempt_of(self, folder: str) -> str | None:
        """The inode of the published folder, which differs between attempts, even at the same run."""
        try:
            return str(self._layout.partition_dir(folder).stat().st_ino)
        except OSError:
            return None

    def generations(self, folder: str) -> tuple[str, ...]:
        """The run ids of a partition's earlier generations, newest first."""
        return self._generations.of(folder)

    def record(self) -> TableRecord | None:
        """The table's owner and columns; None if nothing is published."""
        folders, run = self.published_partitions(), None
        with suppress(PublishError):
            run = self.published_run(folders[-1]) if folders else None
        return read_table(self._control, folders, run)
