"""The record of what each version's files were at their first use: written once, held against ever after."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from batchdeploy.core.first_use import FirstUse, VersionFiles
from batchdeploy.core.layout import FIRST_USES
from batchdeploy.documents import from_json, to_json
from batchdeploy.errors import Problem, RequestError
from batchdeploy.host.file_modes import make_folder, restrict

SHOWN_DIGITS = 16
MAX_NAME = 180


class FirstUseRecords:
    """The records of one table, one small file a version.

    Args:
        models: the folder of the table's copies of models.
    """

    def __init__(self, models: Path) -> None:
        self._folder = models / FIRST_USES

    def find(self, name: str, version: int) -> FirstUse | None:
        """What the version held at its first use, or None where it was not used yet.

        Raises:
            DataError: the record is none.
        """
        file = self._file(name, version)
        try:
            return from_json(FirstUse, file.read_bytes(), where=str(file))
        except FileNotFoundError:
            return None

    def record(self, seen: VersionFiles, digest: str) -> None:
        """Writes down a first use; of a later one only what tells that the files lie there still.

        Raises:
            RequestError: at its first use, the version held other files.
        """
        file = self._file(seen.name, seen.version)
        make_folder(file.parent)
        use = FirstUse(digest=digest, first_used_at=datetime.now(UTC).isoformat(), seen=seen)
        if self._create(file, use):
            return
        first = self.find(seen.name, seen.version) or use
        self.verify(first, seen.name, seen.version, digest)
        if seen.files and seen != first.seen:
            self._write(file, replace(first, seen=seen)).replace(file)

    def verify(self, first: FirstUse, name: str, version: int, digest: str) -> None:
        """Looks whether these are the files of the first use.

        Raises:
            RequestError: they are not; with both digests.
        """
        if first.digest == digest:
            return
        day = first.first_used_at[:10]
        text = f"the files are not those of its first use on {day}, {first.digest[:SHOWN_DIGITS]}"
        hint = (
            "register changed files as a version of their own; where these were meant to change, remove "
            f"{self._file(name, version)}"
        )
        problem = Problem("digest", text, digest[:SHOWN_DIGITS])
        raise RequestError(f"model {name} version {version}", (problem,), hint=hint)

    def _file(self, name: str, version: int) -> Path:
        plain = quote(name, safe="")
        if len(plain) > MAX_NAME:
            plain = f"{plain[:100]}-{sha256(name.encode()).hexdigest()}"
        return self._folder / f"{plain}@{version}.json"

    def _create(self, file: Path, use: FirstUse) -> bool:
        """Whether it was not there yet; of two that come at once, one is first."""
        scratch = self._write(file, use)
        try:
            os.link(scratch, file)
        except FileExistsError:
            return False
        except OSError:
            # NOTE: a filesystem without hard links.
            if file.exists():
                return False
            scratch.replace(file)
        finally:
            with suppress(FileNotFoundError):
                scratch.unlink()
        return True

    def _write(self, file: Path, use: FirstUse) -> Path:
        with tempfile.NamedTemporaryFile("w", dir=file.parent, suffix=".tmp", delete=False) as scratch:
            scratch.write(to_json(use))
        restrict(Path(scratch.name))
        return Path(scratch.name)
